"""The outbox as the delivery loop needs it: `storage.engine.OutboxStore`, for one in the database's file and for another file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from ... import clock
from ..engine import FanOut, OutboxRow, OutboxStore, ReadPlan
from . import disk_space, marking, outbox, unread
from .connection import data_version, large_rows, transaction
from .errors import engine_errors
from .tables import schema_version

Observe = Callable[[float, float], None]


def outbox_store(
    path: Path, opener: Callable[[], sqlite3.Connection] | None, observe: Observe | None = None
) -> OutboxStore:
    """Return the outbox in the file `path`, which is another one than the database's if it has an opener."""
    return OutboxInDatabase(path, observe) if opener is None else OutboxApart(path, opener, observe)


class OutboxInDatabase:
    """The outbox in the database's file; `batch.write` reads and marks it. `observe` as in `transaction`."""

    is_in_database = is_by_project = tells_few = True

    def __init__(self, path: Path, observe: Observe | None = None) -> None:
        self._path = path
        self._observe = observe

    def open(self) -> None:
        """Do nothing: the database is open."""

    def close(self) -> None:
        """Do nothing."""

    def has_free_space(self) -> bool:
        """Tell whether the file's disk has room."""
        return disk_space.has_free_space(self._path)

    def changes(self) -> int:
        """Return 0: who commits to it commits to the database."""
        return 0

    @engine_errors()
    def is_anything_unread(self, conn: sqlite3.Connection, plan: ReadPlan) -> bool:
        """Tell whether any row waits, but for those that the plan excludes."""
        return unread.is_anything_unread(conn, plan)

    def read(self, plan: ReadPlan) -> list[OutboxRow]:
        """Return nothing: `batch.write` reads what is asked for."""
        return []

    @engine_errors()
    def mark(self, conn: sqlite3.Connection, fan_outs: Sequence[FanOut], now: datetime) -> None:
        """Mark the rows that are larger than an event may be: SQLite writes all of each anew."""
        with large_rows(conn), transaction(conn, 0.0, self._observe):
            for answers in fan_outs:
                slow = [answer for answer in answers.marks if answer.is_slow]
                marking.mark(conn, answers, slow, None, clock.text(now))


class OutboxApart:
    """An outbox in another file; `opener` opens a connection to it. `observe` as in `transaction`."""

    is_in_database = False

    def __init__(self, path: Path, opener: Callable[[], sqlite3.Connection], observe: Observe | None = None) -> None:
        self._path = path
        self._opener = opener
        self._observe = observe
        self._conn: sqlite3.Connection | None = None
        self.is_by_project = True

    @property
    def tells_few(self) -> bool:
        """Whether there is an index by project."""
        return self.is_by_project

    @engine_errors()
    def open(self) -> None:
        """Open the file; raises what the opener raises."""
        self._session()

    def close(self) -> None:
        """Close it."""
        if self._conn is not None:
            self._conn.close()

    def has_free_space(self) -> bool:
        """Tell whether the file's disk has room."""
        return disk_space.has_free_space(self._path)

    @engine_errors()
    def changes(self) -> int:
        """Return a number that changes when another connection commits, its upgrade to the present schema included."""
        conn = self._session()
        if not self.is_by_project:
            self._look_at_schema(conn)
        return data_version(conn)

    def is_anything_unread(self, conn: sqlite3.Connection, plan: ReadPlan) -> bool:
        """Tell that there may be: only a read of the other file knows."""
        return True

    @engine_errors()
    def read(self, plan: ReadPlan) -> list[OutboxRow]:
        """Return rows that wait."""
        return unread.read_unread(self._session(), plan, by_project=self.is_by_project)

    @engine_errors()
    def mark(self, conn: sqlite3.Connection, fan_outs: Sequence[FanOut], now: datetime) -> None:
        """Mark all rows of batches."""
        own_conn = self._session()
        with transaction(own_conn, 0.0, self._observe):
            for answers in fan_outs:
                marking.mark(own_conn, answers, answers.marks, answers.batch, clock.text(now))

    def _session(self) -> sqlite3.Connection:
        if self._conn is None:
            self._conn = self._opener()
            self._look_at_schema(self._conn)
        return self._conn

    def _look_at_schema(self, conn: sqlite3.Connection) -> None:
        """Take note of the outbox's schema: an application may bring it to the present one at any time."""
        self.is_by_project = schema_version(conn) >= outbox.BY_PROJECT
