"""A database of ours in PostgreSQL, as the rooms need it: the shared parts, and what PostgreSQL does in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta

from ...model import Claim, Due
from ...rules.rates import Rate
from ...rules.retry import Schedule
from .. import engine
from ..engine import BEGIN, LastEnd, Moved, Place, Start, StorageError, Walk, Work, WrittenBatch
from ..sql import batch, claiming, deliveries, erasing, results, revisions, starts, waits
from ..sql import stats as figures
from ..sql.action_store import SharedActionStore
from ..sql.reading_store import SharedReadingStore
from ..sql.upkeep_store import SharedObservingStore, SharedPruningStore, SharedResendingStore
from . import daemons, database_session, erasing_outbox, inserting, operator_keys, outbox, rejected_rows
from . import stats as outbox_figures
from .connection import STATEMENT, look
from .database_session import DatabaseSession
from .in_database import Inside
from .lease import Lease, Superseded
from .share import Share

PostgresResendingStore = SharedResendingStore
CONTENT = ("events", "deliveries", "attempts", "rendered_bodies")  # the tables that hold it, beside the outbox
_REVISION = "SELECT revision FROM database_meta"


class PostgresDeliveryStore:
    """The database, as the delivery loop reads and writes it. `inside` is the outbox in it.

    With a `lease` it owns a share of the projects. Each transaction looks whether it still does.
    """

    def __init__(self, inside: Inside, lease: Lease | None = None, share: Share | None = None) -> None:
        self.lock_is_fair = True  # the server has a queue for it
        self._inside = inside
        self._lease = lease
        self._share = share or Share(lease)
        self.owns: Callable[[str], bool] | None = None if lease is None else self._share.owns
        self._commits = 0
        self._begun: Sequence[Claim] = ()
        self._unknown: list[
            tuple[int, Sequence[Claim]]
        ] = []  # commits without an answer: their numbers, and what they began

    def settle(self, session: DatabaseSession, schedule: Schedule, now: datetime) -> Mapping[str, float] | None:
        """Take and give projects."""
        return self._share.settle(session, schedule, now)

    def leave(self) -> None:
        """Give all projects."""
        if self._lease is not None:
            self._lease.leave()

    def has_free_space(self) -> bool:
        """Return True: a full disk of the server's is told by the error of a write."""
        return True

    def why_not_begin(self) -> str | None:
        """Return why nothing may begin, while other daemons may take this one for gone."""
        return None if self._lease is None else self._lease.why_not_begin()

    @contextmanager
    def transaction(self, session: DatabaseSession) -> Iterator[None]:
        """Run a block as one write transaction, after those of writers that asked before, and beside batches of other daemons.

        Whether a commit that was not answered has succeeded is told by the number of the next one. What it began was not sent,
        and is taken back.
        """
        self._begun, number = (), None
        try:
            with database_session.writing(session, statement=STATEMENT, alone=False, fence=self._share.fence):
                if (number := self._share.fenced(session)) is not None:
                    self._unknown = [lost for lost in self._unknown if lost[0] < number]
                    claiming.undo(session, [claim for _, claims in self._unknown for claim in claims])
                yield
        except StorageError:  # of whichever class: the number of the next one decides
            if number is not None:
                self._unknown.append((number, self._begun))
            raise
        self._unknown.clear()

    def write(self, session: DatabaseSession, work: Work, schedule: Schedule, now: datetime) -> WrittenBatch:
        """Write a batch, inside a transaction."""
        written = batch.write(session, work, schedule, now, self._inside)
        self._begun = written.begun
        return written

    def first_due_after(
        self, session: DatabaseSession, webhook_id: str, limit: int
    ) -> tuple[list[str], dict[str, Due]]:
        """Return the next webhooks, and when each of them has its next attempt."""
        return deliveries.first_due_after(session, webhook_id, limit)

    def recent_starts(
        self, session: DatabaseSession, limits: Mapping[str, Rate], now: datetime
    ) -> Mapping[str, Sequence[Start]]:
        """Return when attempts of each webhook began within the span of its limit."""
        return starts.recent_starts(session, limits, now)

    def revision(self, session: DatabaseSession) -> int:
        """Return the number of changes to webhooks."""
        return revisions.revision(session)

    def changes(self, session: DatabaseSession) -> int:
        """Return a number that is another one once a producer, or whoever changes what is due, has committed.

        Raises `Superseded` once this daemon was taken for gone, if it has nothing to write.
        """
        if self._lease is not None and self._lease.is_lost:
            raise Superseded
        return int(look(session, _REVISION)) + self._commits

    def note_commit(self) -> None:
        """Note that a producer has committed; from any thread."""
        self._commits += 1

    def interrupt_open(self, session: DatabaseSession, schedule: Schedule, now: datetime) -> int:
        """Record the open attempts as interrupted; with others each daemon records those of the projects that it takes."""
        return results.interrupt_open(session, schedule, now) if self._lease is None else 0

    def last_ends(self, session: DatabaseSession) -> Sequence[LastEnd]:
        """Return how the last attempts of webhooks ended."""
        return results.last_ends(session)

    def has_later_times(self, session: DatabaseSession, now: datetime) -> bool:
        """Return whether a row has a time in the future."""
        return waits.has_later_times(session, now)

    def shorten(
        self, session: DatabaseSession, schedule: Sequence[timedelta], now: datetime, after: Place = BEGIN
    ) -> Moved:
        """Shorten the next waits to those of the schedule."""
        return waits.shorten(session, schedule, now, after, self.owns)

    def shift_due(self, session: DatabaseSession, by: timedelta, now: datetime, after: Place = BEGIN) -> Moved:
        """Shift the next due times to an earlier time."""
        return waits.shift_due(session, by, now, after, self.owns)


class PostgresPruningStore(SharedPruningStore):
    """Removes rows; the server gives room back by itself."""

    def prune_outbox(self, session: DatabaseSession, taken_before: datetime, limit: int) -> int:
        """Delete rows that were taken before a time."""
        return outbox.prune(session, taken_before, limit)

    def release_pages(self, session: DatabaseSession, pages: int) -> int:
        """Return 0: autovacuum does it."""
        return 0

    def tidy(self, session: DatabaseSession) -> None:
        """Do nothing: the server keeps its own log of changes small."""

    def tidy_outbox(self, session: DatabaseSession) -> None:
        """Do nothing, likewise."""

    def rejected_rows(self, before: datetime) -> Walk:
        """Return the walk of `rejected_rows`."""
        return rejected_rows.Sweep(before)

    def old_payloads(self, before: datetime) -> Walk:
        """Return the walk of `erasing_outbox`."""
        return erasing_outbox.OldPayloads(before)


class PostgresObservingStore(SharedObservingStore):
    """Observes the database."""

    def sizes(self, session: DatabaseSession) -> dict[str, int]:
        """Return the bytes of the tables and their indexes; the disk is the server's."""
        return {"database": daemons.bytes_used(session)}

    def wal_bytes(self, session: DatabaseSession) -> int:
        """Return 0: the server has one log of changes for all of its databases."""
        return 0

    def outbox(self, session: DatabaseSession, now: datetime) -> engine.OutboxFigures:
        """Count rows of the outbox."""
        return outbox_figures.outbox(session, now)

    def unread_rows(self, session: DatabaseSession) -> tuple[int | None, int]:
        """Return the first unread row and the last row."""
        return outbox_figures.unread_rows(session)


class Figures:
    """How the service stands: `storage.engine.Stats`."""

    pending = staticmethod(figures.pending)
    webhooks = staticmethod(figures.webhooks)
    hours = staticmethod(figures.hours)
    outbox = staticmethod(outbox_figures.outbox)


class PostgresActionStore(SharedActionStore):
    """What people's actions read and write."""

    operator_keys: engine.StoredOperatorKeys | None = operator_keys
    daemons: engine.DaemonReads = daemons
    events: engine.EventInserts = inserting
    erasing_outbox: engine.ErasingOutbox = erasing_outbox
    pruning: engine.PruningStore = PostgresPruningStore()

    def transaction(self, session: DatabaseSession, wait: float) -> AbstractContextManager[object]:
        """Run a block as one write transaction."""
        return database_session.writing(session, wait)


class PostgresReadingStore(SharedReadingStore):
    """What the pages, the API and the commands read."""

    outbox: engine.OutboxReads = outbox
    rejected: engine.RejectedRows = rejected_rows
    stats: engine.Stats = Figures()
    daemons: engine.DaemonReads = daemons

    def begin(self, session: DatabaseSession) -> None:
        """Let all that is read from now on be of one state of the database."""
        database_session.begin_reading(session)

    def end(self, session: DatabaseSession) -> None:
        """Let the next read be of what is committed then."""
        database_session.end_reading(session)


class PostgresCleaningStore:
    """Takes what was erased out of the tables: versions of rows that nobody sees any more are removed by a vacuum."""

    unclean_since = staticmethod(erasing.unclean_since)
    note_clean = staticmethod(erasing.note_clean)

    def empty_wal(self, session: DatabaseSession, /) -> bool:
        """Return True: it is done on the other session, as deliveries would wait for a vacuum on this one."""
        return True

    def empty_outbox_wal(self, session: DatabaseSession, /) -> bool:
        """Vacuum the tables that hold content, the outbox among them."""
        return session.vacuum_tables(*CONTENT, "outbox")
