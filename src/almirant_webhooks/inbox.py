"""The inbox: rows that were read from the outbox and wait to be fanned out with a group; their projects take turns."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence

from .db.fanout import FanOut
from .db.unread import FEW, MAX_BATCH_BYTES, OutboxRow, in_turn

WORTH = 32  # free slots for which rows are taken at once: for fewer a fan-out does not pay while there are more to come
PATIENCE = 0.005  # seconds that rows wait for so many: no dead receiver keeps the slots that others' events wait for
FEWEST = 4  # rows that are looked up for one group at least
ROWS = 80  # about what a group takes where each comes to one delivery
MOST_BYTES = 1024 * 1024  # of payload in one group: larger ones would keep the others waiting


class Inbox:
    """What the intake has read, and what became of it.

    `one_file` tells that the outbox is in the database's file, where rows are marked by the transaction that copies them.
    """

    def __init__(self, *, one_file: bool) -> None:
        self.one_file = one_file
        self.rows: dict[int, OutboxRow] = {}
        self._taken: set[int] = set()  # rows of a group that is not committed yet
        self.done: deque[FanOut] = deque()
        self.error: sqlite3.Error | None = None
        self.news = asyncio.Event()
        self.arrived: Callable[[], None] = lambda: None
        self._taken_at = 0.0
        self._each = 1.0  # deliveries that a row came to lately: no more rows are looked up than can be taken
        self._groups = 0
        self._served: dict[str | bytes, int] = {}  # project → the last group that took rows of it

    def add(self, rows: Sequence[OutboxRow]) -> None:
        """Hand over rows that were read."""
        for row in rows:
            self.rows[row.id] = row
            # In front of those that the last group served, and behind whoever waits: many that come and go with a row
            # each would pass by a project for ever.
            self._served.setdefault(row.project_id, self._groups - 1)
        if rows:
            self.arrived()

    def ready(self, free: int, at: float, first: bool = False) -> list[OutboxRow]:
        """Return the rows whose turn it is with so many free slots at a monotonic time; they stay until they are taken.

        Projects take turns, and those that the last groups served come last: one row may be all that a group takes.
        Those that may go in front of a group are taken whatever the slots are, and with `first` they alone.
        """
        are_worth_it = free >= WORTH or at >= self._taken_at + PATIENCE
        among = self.rows.values() if are_worth_it and not first else self.few
        most = max(FEWEST, int(max(free, WORTH) / self._each))
        rows: list[OutboxRow] = []
        room = MOST_BYTES
        waiting = sorted(among, key=lambda row: self._served[row.project_id])
        for row in in_turn(waiting, lambda row: row.project_id):
            room -= _bytes(row)
            if len(rows) == most or (rows and room < 0):
                break
            rows.append(row)
        return rows

    @property
    def to_read(self) -> int:
        """The number of rows to read now: as many as two groups take where less than one is in hand, and else 0.

        The more deliveries each came to, the fewer are enough.
        """
        most = max(FEWEST, int(ROWS / self._each))
        enough = len(self.rows) > most or sum(map(_bytes, self.rows.values())) > MAX_BATCH_BYTES
        return 0 if enough else 2 * most - len(self.rows)

    @property
    def has_room_for_few(self) -> bool:
        """Tell whether more rows that may go in front of a group can be read, however much is in hand."""
        return len(self._of_few()) < FEW

    @property
    def few(self) -> list[OutboxRow]:
        """The rows that may go in front of a group: of projects that have few, where those are few altogether."""
        rows = self._of_few()
        return rows if len(rows) <= FEW else []

    def _of_few(self) -> list[OutboxRow]:
        return [row for row in self.rows.values() if row.is_of_few]

    def next_look(self) -> float | None:
        """Return the monotonic time at which rows are taken whatever the slots are, or None when there are none."""
        return self._taken_at + PATIENCE if self.rows else None

    @property
    def in_hand(self) -> set[int]:
        """The rows that are not to be read again: those that wait, and those of a group that is not committed yet."""
        return self._taken.union(self.rows)

    def take(self, done: FanOut, at: float) -> None:
        """Take rows out of what waits, for a group that is about to be committed."""
        each = max(1.0, done.deliveries / len(done.marks))
        # Rows of few tell less of what the others come to, and are in nobody's way.
        if all(mark.row.is_of_few for mark in done.marks):
            self._each = (self._each + each) / 2
        else:
            self._each, self._taken_at = each, at
        self._groups += 1
        for mark in done.marks:
            self.rows.pop(mark.row.id, None)  # all may have been given back meanwhile
            self._taken.add(mark.row.id)
            self._served[mark.row.project_id] = self._groups
        in_hand = {row.project_id for row in self.rows.values()}
        self._served = {project: group for project, group in self._served.items() if project in in_hand}
        self.news.set()

    def confirm(self, done: FanOut) -> None:
        """Take over what rows came to, now that their group is committed."""
        self._taken.difference_update(mark.row.id for mark in done.marks)
        self.done.append(done)
        self.news.set()

    def fail(self, error: sqlite3.Error) -> None:
        """Give all rows back with what failed: the group that took some was not committed."""
        self._taken.clear()
        self.error = error
        self.rows.clear()
        self.news.set()

    def give_back(self) -> None:
        """Give all rows that wait back, so that they are read again."""
        if self.rows:
            self.rows.clear()
            self.news.set()


def _bytes(row: OutboxRow) -> int:
    return row.size if row.payload is not None else 0
