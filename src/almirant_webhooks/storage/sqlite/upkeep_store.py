"""SQLite as the work beside delivery needs it: `storage.engine`'s stores for pruning, observing and resending."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ... import clock
from ..engine import OutboxFigures, Walk
from ..sql.upkeep_store import SharedObservingStore, SharedPruningStore, SharedResendingStore
from . import connection, erasing_outbox, free_pages, outbox, rejected_rows, stats
from .connection import Connection


class SqlitePruningStore(SharedPruningStore):
    """Removes rows, of the outbox too, and gives room back."""

    def prune_outbox(self, conn: Connection, taken_before: datetime, limit: int) -> int:
        """Delete rows that were taken before a time."""
        return outbox.prune(conn, clock.text(taken_before), limit)

    def release_pages(self, conn: Connection, pages: int) -> int:
        """Give free pages back to the file system."""
        return free_pages.release_pages(conn, pages)

    def tidy(self, conn: Connection) -> None:
        """Shorten a WAL that has grown beyond its limit."""
        connection.shorten_wal(conn)

    def tidy_outbox(self, conn: Connection) -> None:
        """Shorten the outbox's WAL, if its file is ours."""
        if outbox.is_alone(conn):
            connection.shorten_wal(conn)

    def rejected_rows(self, before: datetime) -> Walk:
        """Return the walk of `rejected_rows`."""
        return rejected_rows.Sweep(clock.text(before))

    def old_payloads(self, before: datetime) -> Walk:
        """Return the walk of `erasing_outbox`."""
        return erasing_outbox.OldPayloads(before)


class SqliteObservingStore(SharedObservingStore):
    """Observes the database in the file `path`, and the outbox."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sizes(self, conn: Connection) -> dict[str, int]:
        """Return the bytes of the file, of its WAL, and those free on their disk."""
        return stats.sizes(self._path)

    def wal_bytes(self, conn: Connection) -> int:
        """Return the bytes of the WAL of a connection's file."""
        return stats.wal_bytes(conn)

    def outbox(self, conn: Connection, now: datetime) -> OutboxFigures:
        """Count rows of the outbox."""
        return stats.outbox(conn, now)

    def unread_rows(self, conn: Connection) -> tuple[int | None, int]:
        """Return the first unread row and the last row."""
        return stats.unread_rows(conn)


SqliteResendingStore = SharedResendingStore
