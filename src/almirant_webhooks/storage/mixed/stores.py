"""SQLite's stores with PostgreSQL's parts for what is called on a session of the outbox."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime

from .. import engine
from ..engine import OutboxFigures, Session, Walk
from ..postgres import connection, erasing_outbox, outbox, rejected_rows, stats
from ..sqlite import wal
from ..sqlite.action_store import SqliteActionStore
from ..sqlite.reading_store import SqliteReadingStore
from ..sqlite.stats import hours, pending, webhooks
from ..sqlite.upkeep_store import SqliteObservingStore, SqlitePruningStore


class MixedPruningStore(SqlitePruningStore):
    """Removes rows of the outbox there, and all else here."""

    def prune_outbox(self, session: Session, taken_before: datetime, limit: int) -> int:
        """Delete rows that were taken before a time."""
        return outbox.prune(session, taken_before, limit)

    def tidy_outbox(self, session: Session) -> None:
        """Do nothing: the server vacuums by itself."""

    def rejected_rows(self, before: datetime) -> Walk:
        """Return the walk of `rejected_rows`."""
        return rejected_rows.Sweep(before)

    def old_payloads(self, before: datetime) -> Walk:
        """Return the walk of `erasing_outbox`."""
        return erasing_outbox.OldPayloads(before)


class MixedActionStore(SqliteActionStore):
    """Inserts events and erases payloads there."""

    events: engine.EventInserts = outbox
    erasing_outbox: engine.ErasingOutbox = erasing_outbox
    pruning: engine.PruningStore = MixedPruningStore()

    def transaction(self, session: Session, wait: float) -> AbstractContextManager[object]:
        """Run a block as one write transaction on a session of the outbox."""
        return connection.transaction(session, wait)


class _Stats:
    """The numbers of the database, and those of the outbox."""

    pending = staticmethod(pending)
    webhooks = staticmethod(webhooks)
    hours = staticmethod(hours)
    outbox = staticmethod(stats.outbox)


class MixedReadingStore(SqliteReadingStore):
    """Reads the outbox there."""

    outbox: engine.OutboxReads = outbox
    rejected: engine.RejectedRows = rejected_rows
    stats: engine.Stats = _Stats()


class MixedObservingStore(SqliteObservingStore):
    """Observes the database's file, and the outbox there."""

    def wal_bytes(self, session: Session) -> int:
        """Return the bytes of a file's WAL; the server's is its own affair."""
        return 0 if isinstance(session, connection.Session) else super().wal_bytes(session)

    def outbox(self, session: Session, now: datetime) -> OutboxFigures:
        """Count rows of the outbox."""
        return stats.outbox(session, now)

    def unread_rows(self, session: Session) -> tuple[int | None, int]:
        """Return the first unread row and the last row."""
        return stats.unread_rows(session)


class MixedCleaningStore:
    """Takes what was erased out of the file's WAL, and has the outbox's table vacuumed."""

    unclean_since = staticmethod(wal.unclean_since)
    note_clean = staticmethod(wal.note_clean)
    empty_wal = staticmethod(wal.empty_wal)

    def empty_outbox_wal(self, session: Session, /) -> bool:
        """Have the versions of rows that nobody sees any more removed, where the role may."""
        return outbox.vacuum(session)
