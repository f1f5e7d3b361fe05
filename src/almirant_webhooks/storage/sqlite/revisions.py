"""Counts the changes that the daemon has to read at once. Call the function that writes inside a transaction."""

from __future__ import annotations

import sqlite3


def bump_revision(conn: sqlite3.Connection) -> None:
    """Count a change to webhooks, which the daemon then reads at once."""
    conn.execute("UPDATE database_meta SET revision = revision + 1")


def revision(conn: sqlite3.Connection) -> int:
    """Return the number of changes that `bump_revision` has counted."""
    return int(conn.execute("SELECT revision FROM database_meta").fetchone()[0])
