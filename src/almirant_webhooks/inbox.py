"""The inbox: rows that were read from the outbox and wait to be fanned out with a group; their projects take turns."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from .db.fanout import FanOut
from .db.unread import OutboxRow, in_turn

WORTH = 32  # free slots for which rows are taken at once: for fewer a fan-out does not pay while there are more to come
PATIENCE = 0.005  # seconds that rows wait for so many: no dead receiver keeps the slots that others' events wait for
FEWEST = 4  # rows that are looked up for one group at least
FEW = 16  # deliveries that may go in front of a group


class Inbox:
    """What the intake has read, and what became of it.

    `one_file` tells that the outbox is in the database's file, where rows are marked by the transaction that copies them.
    """

    def __init__(self, *, one_file: bool) -> None:
        self.one_file = one_file
        self.rows: dict[int, OutboxRow] = {}
        self.done: deque[FanOut] = deque()
        self.error: sqlite3.Error | None = None
        self.news = asyncio.Event()
        self.arrived: Callable[[], None] = lambda: None
        self._taken_at = self._since = 0.0
        self._each = 1.0  # deliveries that a row came to lately: no more rows are looked up than can be taken

    def add(self, rows: Sequence[OutboxRow]) -> None:
        """Hand over rows that were read."""
        if not self.rows:
            self._since = time.monotonic()
        self.rows.update((row.id, row) for row in rows)
        self.arrived()

    def ready(self, free: int, at: float, at_once: bool = False) -> list[OutboxRow]:
        """Return the rows whose turn it is with so many free slots at a monotonic time; they stay until they are taken."""
        if free < WORTH and not at_once and at < self._taken_at + PATIENCE:
            return []
        most = max(FEWEST, int(max(free, WORTH) / self._each))
        return list(islice(in_turn(self.rows.values(), lambda row: row.project_id), most))

    @property
    def are_few(self) -> bool:
        """Tell whether there are rows, and so few that they may go in front of a group."""
        return 0 < len(self.rows) * self._each <= FEW

    def next_look(self) -> float | None:
        """Return the monotonic time at which rows are taken whatever the slots are, or None when there are none."""
        return self._taken_at + PATIENCE if self.rows else None

    def take(self, done: FanOut, at: float) -> None:
        """Take over what the first rows came to."""
        done.seconds, self._since = at - self._since, at
        self._taken_at = at
        self._each = max(1.0, done.deliveries / len(done.marks))
        for mark in done.marks:
            del self.rows[mark.row.id]
        self.done.append(done)
        self.news.set()

    def fail(self, error: sqlite3.Error) -> None:
        """Give all rows back, as their fan-out failed: they are read again."""
        self.rows.clear()
        self.error = error
        self.news.set()
