"""Empties the WAL of what was erased: `storage.engine.CleaningStore`."""

from __future__ import annotations

import sqlite3

from ..sql.erasing import note_clean, unclean_since
from . import outbox

__all__ = ["empty_outbox_wal", "empty_wal", "note_clean", "unclean_since"]


def empty_wal(conn: sqlite3.Connection) -> bool:
    """Copy all of a WAL into its file and truncate it, outside of a transaction; return whether that was possible.

    It waits for nobody. While a reader looks at an earlier state it is not possible, and a later call does it.
    """
    conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # the long part, beside readers and writers
    return not conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]


def empty_outbox_wal(conn: sqlite3.Connection) -> bool:
    """Empty the outbox's WAL as `empty_wal` does the database's. An application's own file is left alone, and counts as done."""
    return not outbox.is_alone(conn) or empty_wal(conn)
