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
        self._why = TriggerFails("")

    def rows(self) -> set[int]:
        """Return the rows that are not to be read; raises `TriggerFails` where there are too many."""
        if self._rows and time.monotonic() >= self._since + RETRY:
            self._rows.clear()
        if len(self._rows) >= MOST:
            raise self._why
        return self._rows

    def add(self, done: FanOut) -> None:
        """Take note of what was refused, and say it."""
        if done.why is None or not done.refused:
            return
        if not self._rows:
            self._since = time.monotonic()
        if done.refused - self._rows:
            log.error("rows cannot be marked", why=str(done.why), rows=len(done.refused), first=min(done.refused))
        self._rows |= done.refused
        self._why = done.why
