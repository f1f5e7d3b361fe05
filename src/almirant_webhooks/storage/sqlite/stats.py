"""Figures on the service for metrics, `stats` and `doctor`. Nothing here writes."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime
from pathlib import Path

from ..engine import OutboxFigures
from ..sql.stats import clock_offset, hosts, hours, pending, seconds_since, webhooks
from .connection import encoding, retry_while_busy

__all__ = [
    "clock_offset",
    "hosts",
    "hours",
    "integrity",
    "lock_wait",
    "outbox",
    "pending",
    "sizes",
    "unread_rows",
    "wal_bytes",
    "webhooks",
]


_UNREAD = "fanned_out_at IS NULL AND rejected_reason IS NULL"
# Each project's first is one step in the index by project; of more than a thousand projects the others are not looked at.
_FIRST_UNREAD = f"""
WITH RECURSIVE line (project) AS (
    SELECT min(project_id) FROM outbox WHERE {_UNREAD}
    UNION ALL
    SELECT (SELECT min(project_id) FROM outbox WHERE {_UNREAD} AND project_id > line.project)
    FROM line WHERE line.project IS NOT NULL LIMIT 1000)
SELECT min((SELECT min(id) FROM outbox WHERE {_UNREAD} AND project_id = line.project)) FROM line
WHERE line.project IS NOT NULL
"""


def outbox(conn: sqlite3.Connection, now: datetime) -> OutboxFigures:
    """Count the outbox's unread and rejected rows (1,000 at most), and tell the age of the first unread one.

    Its age is by its `occurred_at`, which is the producer's word.
    """
    unread = conn.execute(
        "SELECT count(*) FROM (SELECT 1 FROM outbox WHERE fanned_out_at IS NULL AND rejected_reason IS NULL LIMIT 1000)"
    ).fetchone()[0]
    rejected = conn.execute(
        "SELECT count(*) FROM (SELECT 1 FROM outbox WHERE rejected_reason IS NOT NULL LIMIT 1000)"
    ).fetchone()[0]
    first = conn.execute(
        f"SELECT CAST(substr(occurred_at, 1, 40) AS BLOB) FROM outbox WHERE id = ({_FIRST_UNREAD})"
    ).fetchone()
    age = seconds_since(first and first[0].decode(encoding(conn), "replace"), now)
    return {"unread": unread, "rejected": rejected, "oldest_unread_seconds": age}


def unread_rows(conn: sqlite3.Connection) -> tuple[int | None, int]:
    """Return the id of the outbox's first unread row, if there is one, and that of its last row."""
    first = conn.execute(_FIRST_UNREAD).fetchone()[0]
    return first, int(conn.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()[0])


def sizes(database: Path) -> dict[str, int]:
    """Return the bytes of the database, of its WAL, and those free on their disk."""
    wal = Path(f"{database}-wal")
    disk = os.statvfs(database.absolute().parent)
    return {
        "database": database.stat().st_size if database.exists() else 0,
        "wal": wal.stat().st_size if wal.exists() else 0,
        "disk_free": disk.f_bavail * disk.f_frsize,
    }


def wal_bytes(conn: sqlite3.Connection) -> int:
    """Return the bytes of the WAL of a connection's file, 0 when it has none."""
    try:
        return Path(f"{conn.execute('PRAGMA database_list').fetchone()[2]}-wal").stat().st_size
    except OSError:
        return 0


def lock_wait(conn: sqlite3.Connection, wait: float) -> bool:
    """Return whether the write lock can be taken within `wait` seconds; nothing is written."""
    try:
        retry_while_busy(lambda: conn.execute("BEGIN IMMEDIATE"), wait)
    except sqlite3.OperationalError:
        return False
    conn.execute("ROLLBACK")
    return True


def integrity(conn: sqlite3.Connection, *, deep: bool) -> str:
    """Return `ok`, or the first thing that is wrong with the file; `deep` compares indexes with their rows too."""
    try:
        return str(conn.execute(f"PRAGMA {'integrity' if deep else 'quick'}_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
