"""Rows of the outbox that an application's trigger keeps from being marked, though their events are taken."""

from __future__ import annotations

import time

import structlog

from ..storage.engine import FanOut, TriggerFails

MOST = 100  # beside so many nothing more is read
RETRY = 60.0  # seconds after which all are tried again

log = structlog.get_logger("almirant_webhooks")


class Unmarked:
    """Remembers such rows for a while, so that they are not read again and again."""

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._since = 0.0  # monotonic seconds
        self._error = TriggerFails("")

    def rows(self) -> set[int]:
        """Return the rows that are not to be read; raises `TriggerFails` where there are too many."""
        if self._rows and time.monotonic() >= self._since + RETRY:
            self._rows.clear()
        if len(self._rows) >= MOST:
            raise self._error
        return self._rows

    def add(self, fan_out: FanOut) -> None:
        """Take note of what was refused, and say it."""
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
