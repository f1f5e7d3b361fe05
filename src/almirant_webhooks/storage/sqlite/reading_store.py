"""SQLite as people look at it: `storage.engine.ReadingStore`, of which all parts are modules."""

from __future__ import annotations

import sqlite3

from .. import engine
from ..sql.reading_store import SharedReadingStore
from . import connection, daemons, outbox, rejected_rows, stats


class SqliteReadingStore(SharedReadingStore):
    """SQLite's own parts beside the shared ones."""

    outbox: engine.OutboxReads = outbox
    rejected: engine.RejectedRows = rejected_rows
    stats: engine.Stats = stats
    daemons: engine.DaemonReads = daemons

    def begin(self, conn: sqlite3.Connection) -> None:
        """Let all that is read from now on be of one state of the file."""
        connection.begin_reading(conn)

    def end(self, conn: sqlite3.Connection) -> None:
        """Let the next read be of what is committed then."""
        connection.end_reading(conn)
