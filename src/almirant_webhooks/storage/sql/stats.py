"""Figures on the deliveries and the webhooks for metrics, `stats` and `doctor`. Nothing here writes."""

from __future__ import annotations

import json
from datetime import datetime
from urllib.parse import urlsplit

from ... import clock
from ..engine import Pending
from .session import Session

# Walks through the index of pending deliveries alone.
_PENDING = """
SELECT w.enabled, count(*), count(*) FILTER (WHERE d.next_attempt_at <= ?1), min(d.next_attempt_at)
FROM webhooks w CROSS JOIN deliveries d INDEXED BY deliveries_due_of_a_webhook
     ON d.webhook_id = w.id AND d.generation = w.generation AND d.state = 'pending' AND d.in_flight = 0
WHERE w.deleted_at IS NULL GROUP BY w.id
"""


def pending(conn: Session, now: datetime) -> Pending:
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
    return {"due": due, "scheduled": scheduled, "held": held, "oldest_due_seconds": seconds_since(oldest, now)}


def seconds_since(now_text: str | None, now: datetime) -> float:
    """Return the seconds since a time, 0 where there is none."""
    return round(max(0.0, -clock.seconds_until(now_text, now)), 3) if now_text else 0.0


def webhooks(conn: Session) -> dict[str, int]:
    """Count the enabled webhooks, the disabled ones, and the failing ones among the enabled."""
    row = conn.execute(
        "SELECT coalesce(sum(enabled), 0), coalesce(sum(NOT enabled), 0), coalesce(sum(enabled = 1 "
        "AND failing_noticed_at IS NOT NULL AND failing_since IS NOT NULL), 0) FROM webhooks WHERE deleted_at IS NULL"
    ).fetchone()
    return {"enabled": row[0], "disabled": row[1], "failing": row[2]}


def hours(conn: Session, since: datetime) -> dict[str, int]:
    """Add up the attempts of all webhooks since the hour of a time."""
    row = conn.execute(
        "SELECT coalesce(sum(succeeded), 0), coalesce(sum(failed), 0), coalesce(sum(duration_ms), 0), "
        "coalesce(max(longest_ms), 0) FROM webhook_hours WHERE hour >= ?",
        (clock.text(since)[:13],),
    ).fetchone()
    attempts = row[0] + row[1]
    mean = round(row[2] / attempts) if attempts else 0
    return {"succeeded": row[0], "failed": row[1], "mean_ms": mean, "longest_ms": row[3]}


def clock_offset(conn: Session, since: datetime) -> float | None:
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


def hosts(conn: Session, limit: int = 50) -> list[str]:
    """Return the hosts of enabled webhooks."""
    rows = conn.execute("SELECT DISTINCT url FROM webhooks WHERE enabled = 1 AND deleted_at IS NULL LIMIT 1000")
    return sorted({urlsplit(row[0]).hostname or "" for row in rows})[:limit]
