"""Deliveries: when they are due, resend, cancel, erase. Functions that write are called inside a transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import clock
from ..model import OPERATOR, Due, NotFound, Refused
from ..retry import MAX_RETRY_AFTER
from . import audit
from .bulk import AT_ONCE, read_rows
from .webhooks import changed

_FIRST_DUE = """
SELECT json_group_array(json_array(
    w.id,
    CASE WHEN w.enabled THEN (SELECT min(d.next_attempt_at) FROM deliveries d
        WHERE d.webhook_id = w.id AND d.state = 'pending' AND d.in_flight = 0) END,
    EXISTS (SELECT 1 FROM deliveries d WHERE d.webhook_id = w.id AND d.resend_requested_at IS NOT NULL
        AND d.in_flight = 0 AND (w.enabled OR d.test = 1)), w.project_id))
"""
_FIRST_DUE_OF_ALL = f"{_FIRST_DUE} FROM webhooks w WHERE w.deleted_at IS NULL"
_FIRST_DUE_OF = f"{_FIRST_DUE} FROM json_each(?) v CROSS JOIN webhooks w ON w.id = v.value WHERE w.deleted_at IS NULL"
_SHORTEN = """
UPDATE deliveries SET next_attempt_at = CASE WHEN last_status IN ('429', '503') THEN asked_for ELSE plain END
FROM (SELECT value ->> 0 AS tries, value ->> 1 AS plain, value ->> 2 AS asked_for FROM json_each(?4)) AS latest
WHERE deliveries.rowid BETWEEN ?1 AND ?2
AND deliveries.state = 'pending' AND deliveries.next_attempt_at > ?3 AND latest.tries = min(deliveries.tries, ?5)
AND deliveries.next_attempt_at > CASE WHEN last_status IN ('429', '503') THEN asked_for ELSE plain END
"""
_BRING_FORWARD = """
UPDATE deliveries SET next_attempt_at = strftime('%Y-%m-%dT%H:%M:%fZ', next_attempt_at, ?4)
WHERE rowid BETWEEN ?1 AND ?2 AND state = 'pending' AND next_attempt_at > ?3
"""
_FIRST_DUE_AND_REVISION = f"SELECT ({_FIRST_DUE_OF}), (SELECT revision FROM database_meta)"
NOW = ""  # sorts before every time: due at once


def first_due(conn: sqlite3.Connection, webhook_ids: Iterable[str] | None = None) -> dict[str, Due]:
    """Return when each webhook (of those given, or of all) has its next attempt; one with none is left out.

    `NOW` stands for a resend or a test that waits.
    """
    if webhook_ids is None:
        rows = read_rows(conn, _FIRST_DUE_OF_ALL)
    else:
        rows = read_rows(conn, _FIRST_DUE_OF, json.dumps(list(webhook_ids)))
    return _due(rows)


def first_due_and_revision(conn: sqlite3.Connection, webhook_ids: Iterable[str]) -> tuple[dict[str, Due], int]:
    """Return when each of the webhooks has its next attempt, and the number of changes to webhooks, in one step."""
    rows, revision = conn.execute(_FIRST_DUE_AND_REVISION, (json.dumps(list(webhook_ids)),)).fetchone()
    return _due(json.loads(rows)), int(revision)


def _due(rows: Iterable[Sequence[Any]]) -> dict[str, Due]:
    return {row[0]: Due(NOW if row[2] else row[1], row[3]) for row in rows if row[2] or row[1] is not None}


def bring_forward(conn: sqlite3.Connection, by: timedelta, now: datetime) -> int:
    """Take a time off every wait that has not ended, as the clock was set back by it; return how many there were.

    What was made since then is due by the new clock and is left as it is.
    """
    shift = f"-{by.total_seconds():.3f} seconds"
    return _update_all(conn, _BRING_FORWARD, clock.text(now), shift)


def _update_all(conn: sqlite3.Connection, update: str, *values: object) -> int:
    """Run an update of `rowid BETWEEN ?1 AND ?2` over all deliveries; return how many rows it changed."""
    last = conn.execute("SELECT coalesce(max(rowid), 0) FROM deliveries").fetchone()[0]
    return sum(
        conn.execute(update, (begin, begin + AT_ONCE - 1, *values)).rowcount for begin in range(1, last + 1, AT_ONCE)
    )


def catch_up(conn: sqlite3.Connection, waits: Sequence[timedelta], now: datetime) -> int:
    """Shorten waits at a start if the clock was set back while no daemon ran; return how many were."""
    return shorten_waits(conn, waits, now) if knows_later(conn, now) else 0


def knows_later(conn: sqlite3.Connection, now: datetime) -> bool:
    """Tell whether the newest event or attempt is of a time that is still to come: the clock was set back since."""
    newest = conn.execute(
        "SELECT max(coalesce((SELECT created_at FROM events ORDER BY seq DESC LIMIT 1), ''), "
        "coalesce((SELECT started_at FROM attempts ORDER BY rowid DESC LIMIT 1), ''))"
    ).fetchone()[0]
    return bool(newest > clock.text(now))


def shorten_waits(conn: sqlite3.Connection, waits: Sequence[timedelta], now: datetime) -> int:
    """Let no wait be longer, from now, than the schedule's own; return how many were.

    Retry-After may have asked for two hours.
    """
    latest = [
        (tries, clock.text(now + wait), clock.text(now + max(wait, MAX_RETRY_AFTER)))
        for tries, wait in enumerate(waits)
    ]
    return _update_all(conn, _SHORTEN, clock.text(now), json.dumps(latest), len(waits) - 1)


def request_resend(conn: sqlite3.Connection, delivery_id: str, now: datetime, *, actor: str = OPERATOR) -> bool:
    """Ask for one manual attempt as soon as none is in flight; False when one waits already."""
    row = conn.execute(
        "SELECT d.resend_requested_at, w.enabled, w.id, w.project_id, d.resend_id FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id "
        "WHERE d.id = ? AND w.deleted_at IS NULL",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no delivery {delivery_id}.", "id")
    if not row[1]:
        raise Refused(f"Webhook {row[2]} is disabled; enable it first (`almirant-webhooks webhook enable {row[2]}`).")
    if row[0] is not None and row[4] is None:
        return False
    conn.execute(
        "UPDATE deliveries SET resend_requested_at = ?, resend_id = NULL WHERE id = ?", (clock.text(now), delivery_id)
    )
    audit.note(
        conn,
        "delivery.resent",
        actor=actor,
        now=now,
        project_id=row[3],
        webhook_id=row[2],
        delivery_id=delivery_id,
    )
    changed(conn)
    return True


def resend_done(conn: sqlite3.Connection, delivery_id: str) -> dict[str, Any] | None:
    """Return the last finished attempt of a delivery once no resend or test of it waits, else None."""
    row = conn.execute(
        "SELECT a.* FROM deliveries d JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number "
        "WHERE d.id = ? AND d.resend_requested_at IS NULL AND d.in_flight = 0",
        (delivery_id,),
    ).fetchone()
    return dict(row) if row else None


def cancel_held(conn: sqlite3.Connection, held_since: datetime, limit: int) -> int:
    """Cancel deliveries that have been held since before a time, at most `limit`; return how many."""
    before = clock.text(held_since)
    return conn.execute(
        "UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL, resend_requested_at = NULL, "
        "cancelled_reason = 'held longer than retention.held' WHERE id IN (SELECT d.id FROM webhooks w CROSS JOIN deliveries d "
        "INDEXED BY deliveries_due_of_a_webhook ON d.webhook_id = w.id AND d.state = 'pending' AND d.in_flight = 0 "
        "WHERE w.enabled = 0 AND w.disabled_at <= ?1 AND d.created_at <= ?1 LIMIT ?2)",
        (before, limit),
    ).rowcount


def erase_deleted(conn: sqlite3.Connection, limit: int) -> int:
    """Erase rows of deleted webhooks, at most `limit` deliveries, a webhook's own row last; return how many rows went."""
    row = conn.execute("SELECT id FROM webhooks WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT 1").fetchone()
    if row is None:
        return 0
    ids = conn.execute("SELECT id FROM deliveries WHERE webhook_id = ? LIMIT ?", (row[0], limit)).fetchall()
    if not ids:
        conn.execute("DELETE FROM subscriptions WHERE webhook_id = ?", (row[0],))
        conn.execute("DELETE FROM webhook_hours WHERE webhook_id = ?", (row[0],))
        conn.execute("DELETE FROM resend_webhooks WHERE webhook_id = ?", (row[0],))
        return conn.execute("DELETE FROM webhooks WHERE id = ?", (row[0],)).rowcount
    conn.executemany("DELETE FROM attempts WHERE delivery_id = ?", [tuple(one) for one in ids])
    conn.executemany("DELETE FROM deliveries WHERE id = ?", [tuple(one) for one in ids])
    return len(ids)
