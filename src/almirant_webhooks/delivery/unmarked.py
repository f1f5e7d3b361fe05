"""Rows of the outbox whose events are taken, but which a trigger of the application keeps from being marked."""

from __future__ import annotations

import time

import structlog

from ..storage.engine import FanOut, TriggerFails

MOST = 100  # such rows at which reading stops
RETRY = 60.0  # seconds after which all are tried again

log = structlog.get_logger("almirant_webhooks")


class Unmarked:
    """Remembers such rows for `RETRY` seconds, so that they are not read again and again. Delivery thread alone; in memory only."""

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._since = 0.0  # monotonic seconds
        self._error = TriggerFails("")

    def rows(self) -> set[int]:
        """Return the rows not to read. Raises `TriggerFails` if there are too many."""
        if self._rows and time.monotonic() >= self._since + RETRY:
            self._rows.clear()
        if len(self._rows) >= MOST:
            raise self._error
        return self._rows

    def add(self, fan_out: FanOut) -> None:
        """Remember and log the rows that could not be marked."""
        if fan_out.refusal is None or not fan_out.refused:
            return
        if not self._rows:
            self._since = time.monotonic()
        if fan_out.refused - self._rows:
            log.error(
                "rows cannot be marked", why=str(fan_out.refusal), rows=len(fan_out.refused), first=min(fan_out.refused)
            )
        self._rows |= fan_out.refused
        self._error = fan_out.refusal
