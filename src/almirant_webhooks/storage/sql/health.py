"""Webhooks that fail everything, and deliveries that fail for good: told as events to operators and to the webhook's project.

Operators get an event in the reserved project, the project one of the same content whose type begins with `almirant.`, a
notice. Webhooks of operators are told of to nobody, and a delivery of a notice makes no notice. Call functions that write
inside a transaction.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from ... import clock
from ...model import RESERVED_PROJECT
from ...rules.event_types import NOTICE_PREFIX
from ...rules.signing import host
from ..engine import NOTICED_AT_ONCE, TOLD_AT_ONCE, HealthChange, HealthChanges
from .fanout import have_subscribers, insert_own_events
from .rendering import FAILED_REASON
from .session import Session

FAILING_AFTER = timedelta(hours=1)
TOLD_EVERY = timedelta(minutes=1)  # a project of one webhook's failed deliveries
_DELIVERY_FAILED = "delivery.failed"

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
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL AND w.project_id <> '{RESERVED_PROJECT}'
LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number
WHERE d.test = 0 AND e.event_type NOT GLOB '{NOTICE_PREFIX}*'
"""
_COUNT_UNTOLD = """
WITH news (id, failed, delivery) AS (VALUES {rows})
UPDATE webhooks SET untold_failed = untold_failed + news.failed, untold_delivery = news.delivery
FROM news WHERE webhooks.id = news.id
"""
_UNTOLD_TYPES = "text int text"
# A time still to come was written before the clock was set back.
_UNTOLD = """
SELECT id FROM (
    SELECT id FROM webhooks INDEXED BY webhooks_untold
    WHERE untold_failed > 0 AND deleted_at IS NULL AND told_at <= ?1
    UNION ALL
    SELECT id FROM webhooks INDEXED BY webhooks_untold
    WHERE untold_failed > 0 AND deleted_at IS NULL AND told_at > ?2)
LIMIT ?3
"""
_UNTOLD_WEBHOOKS = """
SELECT w.id, w.project_id, w.url, w.untold_failed, w.untold_delivery
FROM json_each(?) v CROSS JOIN webhooks w ON w.id = v.value
"""
_TOLD = """
UPDATE webhooks SET untold_failed = 0, untold_delivery = NULL, told_at = ? WHERE id IN (SELECT value FROM json_each(?))
"""


def note_health_changes(conn: Session, now: datetime) -> HealthChanges:
    """Return the webhooks that have begun to fail everything for an hour, and those that have recovered, 100 each at most.

    Each change inserts its events in this transaction.
    """
    now_text = clock.text(now)
    begun = conn.execute(_BEGUN, (now_text, clock.text(now - FAILING_AFTER), NOTICED_AT_ONCE)).fetchall()
    over = conn.execute(_OVER, (NOTICED_AT_ONCE,)).fetchall()
    events: list[tuple[str, dict[str, Any]]] = [
        (
            "webhook.failing",
            {
                "webhook": webhook_named(row),
                "failingSince": row["failing_since"],
                "failuresInARow": row["failures_in_a_row"],
                "lastSuccessAt": row["last_success_at"],
            },
        )
        for row in begun
    ]
    events += [
        ("webhook.recovered", {"webhook": webhook_named(row), "lastSuccessAt": row["last_success_at"]}) for row in over
    ]
    touched = tell(conn, events, now)
    return HealthChanges(
        [HealthChange(row["id"], host(row["url"]), row["failing_since"]) for row in begun],
        [HealthChange(row["id"], host(row["url"]), row["last_success_at"]) for row in over],
        touched,
    )


def tell(conn: Session, events: Iterable[tuple[str, dict[str, Any]]], now: datetime) -> set[str]:
    """Insert events about webhooks, each a type and a payload, for operators and for the webhook's project.

    Return the webhooks that have something due by it. Webhooks of operators are told of to nobody.
    """
    told: list[tuple[str, str, dict[str, Any]]] = []
    for kind, payload in events:
        project = payload["webhook"]["projectId"]
        if project != RESERVED_PROJECT:
            told += [(RESERVED_PROJECT, kind, payload), (project, f"{NOTICE_PREFIX}{kind}", payload)]
    return insert_own_events(conn, told, now)


def report_failed(conn: Session, delivery_ids: Sequence[str], now: datetime) -> None:
    """Insert an event for operators for each delivery that has failed for good, and count it for its project's next notice.

    Left out are tests, notices, and deliveries of operators' and of deleted webhooks.
    """
    rows = conn.execute(_FAILED, (json.dumps(list(delivery_ids)),)).fetchall()
    insert_own_events(conn, [(RESERVED_PROJECT, _DELIVERY_FAILED, _failed_delivery(row)) for row in rows], now)
    notice = f"{NOTICE_PREFIX}{_DELIVERY_FAILED}"
    projects = have_subscribers(conn, {(row["project_id"], notice) for row in rows})
    webhooks = [(row[7], row[0]) for row in rows if (row["project_id"], notice) in projects]
    counts, newest = Counter(webhook for webhook, _ in webhooks), dict(webhooks)
    conn.write_rows(
        _COUNT_UNTOLD, _UNTOLD_TYPES, [(webhook, count, newest[webhook]) for webhook, count in counts.items()]
    )


def _failed_delivery(row: Sequence[Any]) -> dict[str, Any]:
    """Return the payload of `delivery.failed` from a row of `_FAILED`."""
    delivery_id, event_id, event_type, attempts, outcome, status, cause, *webhook = row
    delivery = {"id": delivery_id, "eventId": event_id, "eventType": event_type, "attempts": attempts}
    last = {"outcome": outcome, "statusCode": status, "cause": cause}
    return {"delivery": {**delivery, "lastAttempt": last}, "webhook": webhook_named(webhook)}


def has_failed_to_tell(conn: Session, now: datetime) -> bool:
    """Return whether a project waits to be told of failed deliveries."""
    return bool(_untold(conn, now, 1))


def tell_failed(conn: Session, now: datetime) -> set[str]:
    """Insert a notice with the count, and the newest of them, for each webhook with failed deliveries; 20 webhooks at most.

    Return the webhooks that have something due by it. A webhook has its next notice a minute later at the soonest. A delivery
    that is gone from the database is None in the notice.
    """
    ids = json.dumps(_untold(conn, now, TOLD_AT_ONCE))
    webhooks = conn.execute(_UNTOLD_WEBHOOKS, (ids,)).fetchall()
    newest = json.dumps([row["untold_delivery"] for row in webhooks])
    payloads = {row[0]: _failed_delivery(row) for row in conn.execute(_FAILED, (newest,))}
    events: list[tuple[str, str, dict[str, Any]]] = []
    for row in webhooks:
        gone = {"delivery": None, "webhook": webhook_named(row)}
        payload = {**payloads.get(row["untold_delivery"], gone), "count": row["untold_failed"]}
        events.append((row["project_id"], f"{NOTICE_PREFIX}{_DELIVERY_FAILED}", payload))
    conn.execute(_TOLD, (clock.text(now), ids))
    return insert_own_events(conn, events, now)


def _untold(conn: Session, now: datetime, limit: int) -> list[str]:
    """Return webhooks whose project can be told of failed deliveries now."""
    times = clock.text(now - TOLD_EVERY), clock.text(now)
    return [row[0] for row in conn.execute(_UNTOLD, (*times, limit))]


def webhook_named(row: Sequence[Any]) -> dict[str, Any]:
    """Return how an event names a webhook: by its host alone, as the path of a URL can be a secret."""
    return {"id": row[0], "projectId": row[1], "host": host(row[2])}


def failing(conn: Session) -> dict[str, str]:
    """Return the enabled webhooks that are failing, with the time of their first failure."""
    rows = conn.execute(
        "SELECT id, failing_since FROM webhooks WHERE failing_noticed_at IS NOT NULL AND failing_since IS NOT NULL "
        "AND enabled = 1 AND deleted_at IS NULL"
    )
    return {row[0]: row[1] for row in rows}


def own_webhooks(conn: Session) -> set[str]:
    """Return the webhooks of operators."""
    rows = conn.execute("SELECT id FROM webhooks WHERE project_id = ? AND deleted_at IS NULL", (RESERVED_PROJECT,))
    return {row[0] for row in rows}
