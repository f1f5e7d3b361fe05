"""Webhooks that fail everything: reported once when it begins and once when it is over, as events for operators."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ... import clock
from ...model import RESERVED_PROJECT
from ...rules.signing import host
from ..engine import NOTICED_AT_ONCE, HealthChange
from .fanout import insert_own_events
from .rendering import FAILED_REASON

FAILING_AFTER = timedelta(hours=1)

_BEGUN = """
UPDATE webhooks SET failing_noticed_at = ?1 WHERE id IN (
    SELECT id FROM webhooks INDEXED BY webhooks_failing WHERE failing_noticed_at IS NULL AND enabled = 1
    AND deleted_at IS NULL AND failures_in_a_row >= 2 AND failing_since <= ?2 LIMIT ?3)
RETURNING id, project_id, url, failing_since, failures_in_a_row, last_success_at
"""
_OVER = """
UPDATE webhooks SET failing_noticed_at = NULL WHERE id IN (
    SELECT id FROM webhooks INDEXED BY webhooks_recovered WHERE failing_noticed_at IS NOT NULL AND deleted_at IS NULL
    AND (failing_since IS NULL OR failing_since > failing_noticed_at) LIMIT ?)
RETURNING id, project_id, url, last_success_at
"""
_FAILED = f"""
SELECT d.id, d.event_id, e.event_type, d.attempts, a.outcome, a.status_code,
       coalesce(a.cause, {FAILED_REASON}), w.id, w.project_id, w.url
FROM json_each(?) v JOIN deliveries d ON d.id = v.value JOIN events e ON e.seq = d.event_seq
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL AND w.project_id <> ? LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number
WHERE d.test = 0
"""


def note_health_changes(conn: sqlite3.Connection, now: datetime) -> tuple[list[HealthChange], list[HealthChange]]:
    """Return the webhooks that have begun to fail everything for an hour, and those that have recovered, 100 each at most.

    Each change inserts an event in this transaction, unless the webhook belongs to operators.
    """
    now_text = clock.text(now)
    begun = conn.execute(_BEGUN, (now_text, clock.text(now - FAILING_AFTER), NOTICED_AT_ONCE)).fetchall()
    over = conn.execute(_OVER, (NOTICED_AT_ONCE,)).fetchall()
    events = [
        (
            "webhook.failing",
            {
                "webhook": _webhook(row),
                "failingSince": row["failing_since"],
                "failuresInARow": row["failures_in_a_row"],
                "lastSuccessAt": row["last_success_at"],
            },
        )
        for row in begun
    ]
    events += [
        ("webhook.recovered", {"webhook": _webhook(row), "lastSuccessAt": row["last_success_at"]}) for row in over
    ]
    told = [(kind, payload) for kind, payload in events if payload["webhook"]["projectId"] != RESERVED_PROJECT]
    insert_own_events(conn, told, now)
    return (
        [HealthChange(row["id"], host(row["url"]), row["failing_since"]) for row in begun],
        [HealthChange(row["id"], host(row["url"]), row["last_success_at"]) for row in over],
    )


def report_failed(conn: sqlite3.Connection, delivery_ids: Sequence[str], now: datetime) -> None:
    """Insert an event for each delivery that has failed for good, except for tests, operators' webhooks and deleted ones."""
    rows = conn.execute(_FAILED, (json.dumps(list(delivery_ids)), RESERVED_PROJECT)).fetchall()
    events: list[tuple[str, dict[str, Any]]] = []
    for delivery_id, event_id, event_type, attempts, outcome, status, cause, *webhook in rows:
        delivery = {"id": delivery_id, "eventId": event_id, "eventType": event_type, "attempts": attempts}
        last = {"outcome": outcome, "statusCode": status, "cause": cause}
        events.append(
            ("delivery.failed", {"delivery": {**delivery, "lastAttempt": last}, "webhook": _webhook(webhook)})
        )
    insert_own_events(conn, events, now)


def _webhook(row: Sequence[Any]) -> dict[str, Any]:
    """Return how an event names a webhook: by its host alone, as the path of a URL can be a secret."""
    return {"id": row[0], "projectId": row[1], "host": host(row[2])}


def failing(conn: sqlite3.Connection) -> dict[str, str]:
    """Return the enabled webhooks that are failing, with the time of their first failure."""
    rows = conn.execute(
        "SELECT id, failing_since FROM webhooks WHERE failing_noticed_at IS NOT NULL AND failing_since IS NOT NULL "
        "AND enabled = 1 AND deleted_at IS NULL"
    )
    return {row[0]: row[1] for row in rows}


def own_webhooks(conn: sqlite3.Connection) -> set[str]:
    """Return the webhooks of operators."""
    rows = conn.execute("SELECT id FROM webhooks WHERE project_id = ? AND deleted_at IS NULL", (RESERVED_PROJECT,))
    return {row[0] for row in rows}
