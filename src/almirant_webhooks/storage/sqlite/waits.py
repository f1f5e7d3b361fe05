"""Corrects the waits until the next attempt after the clock was set back, in small steps, each a transaction.

Waits only become shorter, so a walk in the order of times meets each of them once, however often it is interrupted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from ... import clock
from ...rules.retry import MAX_RETRY_AFTER
from ..engine import BEGIN, Moved, Place
from .bulk import read_rows

LOOKED_AT = 1000  # deliveries in one step

_NEXT = """
SELECT json_group_array(json_array(webhook_id, generation, next_attempt_at, row)) FROM (
    SELECT webhook_id, generation, next_attempt_at, rowid AS row FROM deliveries INDEXED BY deliveries_due_of_a_webhook
    WHERE state = 'pending' AND in_flight = 0 AND next_attempt_at IS NOT NULL
    AND (webhook_id, generation, next_attempt_at, rowid) > (?1, ?2, ?3, ?4)
    ORDER BY webhook_id, generation, next_attempt_at, rowid LIMIT ?5)
"""
_IN_FLIGHT = """
SELECT json_group_array(rowid) FROM deliveries INDEXED BY deliveries_in_flight WHERE in_flight = 1 AND state = 'pending'
"""
_SHORTEN = """
UPDATE deliveries SET next_attempt_at = CASE WHEN last_status IN ('429', '503') THEN asked_for ELSE plain END
FROM (SELECT json_extract(value, '$[0]') AS tries, json_extract(value, '$[1]') AS plain,
             json_extract(value, '$[2]') AS asked_for FROM json_each(?3)) AS latest
WHERE deliveries.rowid IN (SELECT value FROM json_each(?1))
AND deliveries.state = 'pending' AND deliveries.next_attempt_at > ?2 AND latest.tries = min(deliveries.tries, ?4)
AND deliveries.next_attempt_at > CASE WHEN last_status IN ('429', '503') THEN asked_for ELSE plain END
"""
_SHIFT_DUE = """
UPDATE deliveries SET next_attempt_at = strftime('%Y-%m-%dT%H:%M:%fZ', next_attempt_at, ?3)
WHERE rowid IN (SELECT value FROM json_each(?1)) AND state = 'pending' AND next_attempt_at > ?2
"""


def shift_due(conn: sqlite3.Connection, by: timedelta, now: datetime, after: Place = BEGIN) -> Moved:
    """Shift the next due times to an earlier time, by as much as the clock was set back.

    Deliveries created since then are due by the new clock and stay as they are.
    """
    return _step(conn, _SHIFT_DUE, after, clock.text(now), f"-{by.total_seconds():.3f} seconds")


def shorten(conn: sqlite3.Connection, waits: Sequence[timedelta], now: datetime, after: Place = BEGIN) -> Moved:
    """Shorten the next waits that are longer, from now, than the schedule's.

    A wait of up to two hours may stay, as `Retry-After` may have asked for it.
    """
    latest = [
        (tries, clock.text(now + wait), clock.text(now + max(wait, MAX_RETRY_AFTER)))
        for tries, wait in enumerate(waits)
    ]
    return _step(conn, _SHORTEN, after, clock.text(now), json.dumps(latest), len(waits) - 1)


def _step(conn: sqlite3.Connection, update: str, after: Place, now: str, *values: object) -> Moved:
    rows = read_rows(conn, _NEXT, *after, LOOKED_AT)
    ids = [row[3] for row in rows if row[2] > now]
    if after == BEGIN:  # as many as `delivery.concurrency` at most
        ids += read_rows(conn, _IN_FLIGHT)
    moved = conn.execute(update, (json.dumps(ids), now, *values)).rowcount
    webhook, generation, at, row = max(rows) if rows else BEGIN
    return Moved(moved, (webhook, generation, at, row) if len(rows) == LOOKED_AT else None)


def has_later_times(conn: sqlite3.Connection, now: datetime) -> bool:
    """Return whether the newest event or attempt has a time in the future: the clock was set back since then."""
    newest = conn.execute(
        "SELECT max(coalesce((SELECT created_at FROM events ORDER BY seq DESC LIMIT 1), ''), "
        "coalesce((SELECT started_at FROM attempts ORDER BY rowid DESC LIMIT 1), ''))"
    ).fetchone()[0]
    return bool(newest > clock.text(now))
