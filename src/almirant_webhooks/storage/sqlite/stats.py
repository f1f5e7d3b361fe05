"""Figures on the service for metrics, `stats` and `doctor`. Nothing here writes."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ... import clock
from .connection import encoding, retry_while_busy

# Walks through the index of pending deliveries alone.
_PENDING = """
SELECT w.enabled, count(*), sum(d.next_attempt_at <= ?1), min(d.next_attempt_at)
FROM webhooks w CROSS JOIN deliveries d INDEXED BY deliveries_due_of_a_webhook
     ON d.webhook_id = w.id AND d.generation = w.generation AND d.state = 'pending' AND d.in_flight = 0
WHERE w.deleted_at IS NULL GROUP BY w.id
"""
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


def pending(conn: sqlite3.Connection, now: datetime) -> dict[str, Any]:
    """Count what is due, scheduled and held, and tell since how many seconds the oldest due delivery has been due."""
    due = scheduled = held = 0
    oldest: str | None = None
    now_text = clock.text(now)
    for enabled, count, due_here, first in conn.execute(_PENDING, (now_text,)):
        if not enabled:
            held += count
            continue
        due += due_here or 0
        scheduled += count - (due_here or 0)
        if first is not None and first <= now_text:
            oldest = min(oldest or first, first)
    return {"due": due, "scheduled": scheduled, "held": held, "oldest_due_seconds": _age(oldest, now)}


def _age(now_text: str | None, now: datetime) -> float:
    """Return the seconds since a time, 0 where there is none."""
    return round(max(0.0, -clock.seconds_until(now_text, now)), 3) if now_text else 0.0


def outbox(conn: sqlite3.Connection, now: datetime) -> dict[str, Any]:
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
    age = _age(first and first[0].decode(encoding(conn), "replace"), now)
    return {"unread": unread, "rejected": rejected, "oldest_unread_seconds": age}


def unread_rows(conn: sqlite3.Connection) -> tuple[int | None, int]:
    """Return the id of the outbox's first unread row, if there is one, and that of its last row."""
    first = conn.execute(_FIRST_UNREAD).fetchone()[0]
    return first, int(conn.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()[0])


def webhooks(conn: sqlite3.Connection) -> dict[str, int]:
    """Count the enabled webhooks, the disabled ones, and the failing ones among the enabled."""
    row = conn.execute(
        "SELECT coalesce(sum(enabled), 0), coalesce(sum(1 - enabled), 0), coalesce(sum(enabled = 1 "
        "AND failing_noticed_at IS NOT NULL AND failing_since IS NOT NULL), 0) FROM webhooks WHERE deleted_at IS NULL"
    ).fetchone()
    return {"enabled": row[0], "disabled": row[1], "failing": row[2]}


def hours(conn: sqlite3.Connection, since: datetime) -> dict[str, int]:
    """Add up the attempts of all webhooks since the hour of a time."""
    row = conn.execute(
        "SELECT coalesce(sum(succeeded), 0), coalesce(sum(failed), 0), coalesce(sum(duration_ms), 0), "
        "coalesce(max(longest_ms), 0) FROM webhook_hours WHERE hour >= ?",
        (clock.text(since)[:13],),
    ).fetchone()
    attempts = row[0] + row[1]
    mean = round(row[2] / attempts) if attempts else 0
    return {"succeeded": row[0], "failed": row[1], "mean_ms": mean, "longest_ms": row[3]}


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


def clock_offset(conn: sqlite3.Connection, since: datetime) -> float | None:
    """Return by how many seconds our clock is ahead of receivers' (the median of the answers' `Date` since a time), or None."""
    rows = conn.execute(
        "SELECT a.started_at, a.response_headers FROM deliveries d JOIN attempts a ON a.delivery_id = d.id "
        "AND a.number = d.last_number WHERE d.id IN (SELECT id FROM deliveries ORDER BY id DESC LIMIT 1000) "
        "AND a.response_headers IS NOT NULL AND a.started_at >= ? ORDER BY d.id DESC LIMIT 50",
        (clock.text(since),),
    )
    offsets = []
    for started_at, headers in rows:
        for name, value in json.loads(headers):
            if name.lower() == "date" and (date := clock.http_date(value)) is not None:
                offsets.append((clock.parse(started_at) - date).total_seconds())
    return sorted(offsets)[len(offsets) // 2] if offsets else None


def hosts(conn: sqlite3.Connection, limit: int = 50) -> list[str]:
    """Return the hosts of enabled webhooks."""
    rows = conn.execute("SELECT DISTINCT url FROM webhooks WHERE enabled = 1 AND deleted_at IS NULL LIMIT 1000")
    return sorted({urlsplit(row[0]).hostname or "" for row in rows})[:limit]


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
