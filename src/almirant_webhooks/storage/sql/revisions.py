"""Counts the changes that the daemon has to read at once. Call the function that writes inside a transaction."""

from __future__ import annotations

from .session import Session

REVISION = "SELECT json_group_array(json_array(revision)) FROM database_meta"


def bump_revision(conn: Session) -> None:
    """Count a change to webhooks, which the daemon then reads at once."""
    conn.execute("UPDATE database_meta SET revision = revision + 1")


def revision(conn: Session) -> int:
    """Return the number of changes that `bump_revision` has counted."""
    return int(conn.execute("SELECT revision FROM database_meta").fetchone()[0])
