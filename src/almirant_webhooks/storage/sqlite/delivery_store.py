"""SQLite as the delivery loop needs it: `storage.engine.DeliveryStore`, by the functions of the other modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path

from ...model import Due
from ...rules.rates import Rate
from ...rules.retry import Schedule
from ..engine import BEGIN, LastEnd, Moved, Place, Start, Work, WrittenBatch
from ..sql import batch, deliveries, results, revisions, starts, waits
from . import connection, disk_space, inside
from .connection import Connection
from .errors import engine_errors


class SqliteDeliveryStore:
    """The database in the file `path`. `lock` is shared by this process's writers on the file; `observe` as in `transaction`."""

    def __init__(
        self,
        path: Path,
        lock: AbstractContextManager[object] | None = None,
        observe: Callable[[float, float], None] | None = None,
    ) -> None:
        self.lock_is_fair = False  # SQLite has no queue for it
        self._path = path
        self._lock = lock or nullcontext()
        self._observe = observe
        self.owns: Callable[[str], bool] | None = None

    def settle(self, conn: Connection, schedule: Schedule, now: datetime) -> None:
        """Return None: this daemon is alone, and owns all."""

    def leave(self) -> None:
        """Do nothing: nobody else has the file."""

    def why_not_begin(self) -> str | None:
        """Return None: this daemon is alone."""
        return None

    def has_free_space(self) -> bool:
        """Return whether the file's disk has room for the results of attempts in flight."""
        return disk_space.has_free_space(self._path)

    @contextmanager
    def transaction(self, conn: Connection) -> Iterator[None]:
        """Run a block as one write transaction, after those of writers that asked before."""
        with engine_errors(), self._lock, connection.transaction(conn, observe=self._observe):
            yield

    @engine_errors()
    def write(self, conn: Connection, work: Work, schedule: Schedule, now: datetime) -> WrittenBatch:
        """Write a batch, inside a transaction.

        Its requests are prepared while the commit waits for the disk: before, both threads would compute.
        """
        written = batch.write(conn, work._replace(prepare=Work().prepare), schedule, now, inside)
        if written.begun:
            work.prepare(written.begun)
        return written

    @engine_errors()
    def first_due_after(self, conn: Connection, webhook_id: str, limit: int) -> tuple[list[str], dict[str, Due]]:
        """Return the next webhooks, and when each of them has its next attempt."""
        return deliveries.first_due_after(conn, webhook_id, limit)

    @engine_errors()
    def recent_starts(
        self, conn: Connection, limits: Mapping[str, Rate], now: datetime
    ) -> Mapping[str, Sequence[Start]]:
        """Return when attempts of each webhook began within the span of its limit."""
        return starts.recent_starts(conn, limits, now)

    @engine_errors()
    def revision(self, conn: Connection) -> int:
        """Return the number of changes to webhooks."""
        return revisions.revision(conn)

    @engine_errors()
    def changes(self, conn: Connection) -> int:
        """Return a number that changes when another connection commits."""
        return connection.data_version(conn)

    @engine_errors()
    def interrupt_open(self, conn: Connection, schedule: Schedule, now: datetime) -> int:
        """Record every open attempt as interrupted: a file has one daemon, which has just started."""
        return results.interrupt_open(conn, schedule, now)

    @engine_errors()
    def last_ends(self, conn: Connection) -> Sequence[LastEnd]:
        """Return how the last attempts of webhooks ended."""
        return results.last_ends(conn)

    @engine_errors()
    def has_later_times(self, conn: Connection, now: datetime) -> bool:
        """Return whether a row has a time in the future."""
        return waits.has_later_times(conn, now)

    @engine_errors()
    def shorten(self, conn: Connection, schedule: Sequence[timedelta], now: datetime, after: Place = BEGIN) -> Moved:
        """Shorten the next waits to those of the schedule."""
        return waits.shorten(conn, schedule, now, after)

    @engine_errors()
    def shift_due(self, conn: Connection, by: timedelta, now: datetime, after: Place = BEGIN) -> Moved:
        """Shift the next due times to an earlier time."""
        return waits.shift_due(conn, by, now, after)
