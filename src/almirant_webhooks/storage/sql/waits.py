"""Corrects the waits until the next attempt after the clock was set back, in small steps, each a transaction.

Waits only become shorter, so a walk in the order of times meets each of them once, however often it is interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ... import clock
from ...rules.retry import MAX_RETRY_AFTER
from ..engine import BEGIN, Moved, Place
from .session import Session

Owns = Callable[[str], bool]

LOOKED_AT = 1000  # deliveries in one step

_NEXT = """
SELECT json_group_array(json_array(webhook_id, generation, next_attempt_at, row)) FROM (
    SELECT webhook_id, generation, next_attempt_at, rowid AS row FROM deliveries INDEXED BY deliveries_due_of_a_webhook
    WHERE state = 'pending' AND in_flight = 0 AND next_attempt_at IS NOT NULL
    AND (webhook_id, generation, next_attempt_at, rowid) > (?1, ?2, ?3, ?4)
    ORDER BY webhook_id, generation, next_attempt_at, rowid LIMIT ?5)
"""
_IN_FLIGHT = """
SELECT rowid, webhook_id FROM deliveries INDEXED BY deliveries_in_flight WHERE in_flight = 1 AND state = 'pending'
"""
_PROJECTS = "SELECT id, project_id FROM webhooks WHERE id IN (SELECT value FROM json_each(?))"
_SHORTEN = """
UPDATE deliveries SET next_attempt_at = CASE WHEN last_status IN ('429', '503') THEN asked_for ELSE plain END
FROM (SELECT CAST(json_extract(value, '$[0]') AS INTEGER) AS tries, strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(value, '$[1]')) AS plain,
             strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(value, '$[2]')) AS asked_for FROM json_each(?3)) AS latest
WHERE deliveries.rowid IN (SELECT CAST(value AS INTEGER) FROM json_each(?1))
AND deliveries.state = 'pending' AND deliveries.next_attempt_at > ?2 AND latest.tries = min(deliveries.tries, ?4)
AND deliveries.next_attempt_at > CASE WHEN last_status IN ('429', '503') THEN asked_for ELSE plain END
"""
_SHIFT_DUE = """
UPDATE deliveries SET next_attempt_at = strftime('%Y-%m-%dT%H:%M:%fZ', next_attempt_at, ?3)
WHERE rowid IN (SELECT CAST(value AS INTEGER) FROM json_each(?1)) AND state = 'pending' AND next_attempt_at > ?2
"""


def shift_due(conn: Session, by: timedelta, now: datetime, after: Place = BEGIN, owns: Owns | None = None) -> Moved:
    """Shift the next due times to an earlier time, by as much as the clock was set back.

    Deliveries created since then are due by the new clock and stay as they are. Those of projects that this daemon does not
    own stay too.
    """
    return _step(conn, _SHIFT_DUE, after, owns, clock.text(now), f"-{by.total_seconds():.3f} seconds")


def shorten(
    conn: Session, waits: Sequence[timedelta], now: datetime, after: Place = BEGIN, owns: Owns | None = None
) -> Moved:
    """Shorten the next waits that are longer, from now, than the schedule's, of the projects that this daemon owns.

    A wait of up to two hours may stay, as `Retry-After` may have asked for it.
    """
    latest = [
        (tries, clock.text(now + wait), clock.text(now + max(wait, MAX_RETRY_AFTER)))
        for tries, wait in enumerate(waits)
    ]
    return _step(conn, _SHORTEN, after, owns, clock.text(now), json.dumps(latest), len(waits) - 1)


def _step(conn: Session, update: str, after: Place, owns: Owns | None, now: str, *values: object) -> Moved:
    rows = conn.read_rows(_NEXT, *after, LOOKED_AT)
    to_move = [(row[3], row[0]) for row in rows if row[2] > now]
    if after == BEGIN:  # as many as `delivery.concurrency` of each daemon at most
        to_move += [(row[0], row[1]) for row in conn.execute(_IN_FLIGHT).fetchall()]
    if owns is not None:
        webhooks = json.dumps(sorted({webhook for _, webhook in to_move}))
        own = {webhook for webhook, project in conn.execute(_PROJECTS, (webhooks,)).fetchall() if owns(project)}
        to_move = [(row, webhook) for row, webhook in to_move if webhook in own]
    moved = conn.execute(update, (json.dumps([row for row, _ in to_move]), now, *values)).rowcount
    webhook, generation, at, row = max(rows) if rows else BEGIN
    return Moved(moved, (webhook, generation, at, row) if len(rows) == LOOKED_AT else None)


def has_later_times(conn: Session, now: datetime) -> bool:
    """Return whether the newest event or attempt has a time in the future: the clock was set back since then."""
    newest = conn.execute(
        "SELECT (SELECT created_at FROM events ORDER BY seq DESC LIMIT 1), "
        "(SELECT started_at FROM attempts ORDER BY rowid DESC LIMIT 1)"
    ).fetchone()
    return any(at is not None and at > clock.text(now) for at in newest)
