"""Summaries of many webhooks for the pages, from stored counts and never from the log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from ... import clock
from ..records import Hour, ListedWebhook, WebhookOverview, WebhookSummary
from . import order, rotation, webhooks
from .rows import row_as

COUNTED = 10_000  # held deliveries of one webhook; beyond it a page says "10,000+"

_HOURS = """
SELECT h.* FROM json_each(?1) v CROSS JOIN webhook_hours h ON h.webhook_id = v.value AND h.hour >= ?2
ORDER BY h.webhook_id, h.hour
"""
_STANDING = """
SELECT w.id, max(w.last_success_at, coalesce(w.last_failure_at, '')) AS both,
       coalesce(w.last_success_at, w.last_failure_at) AS either, w.last_success_at, w.last_failure_at,
       w.failures_in_a_row, CASE WHEN w.failing_noticed_at IS NOT NULL THEN w.failing_since END AS failing_since,
       CASE WHEN w.enabled = 0 THEN (SELECT count(*) FROM (SELECT 1 FROM deliveries d
            WHERE d.webhook_id = w.id AND d.generation = w.generation AND d.state = 'pending' AND d.in_flight = 0 LIMIT ?2)) ELSE 0 END AS held
FROM json_each(?1) v CROSS JOIN webhooks w ON w.id = v.value
"""
_PROJECTS = """
SELECT d.id, w.project_id FROM json_each(?) v CROSS JOIN deliveries d ON d.id = v.value
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
"""


def of_webhooks(conn: sqlite3.Connection, ids: Iterable[str], since: datetime) -> dict[str, WebhookSummary]:
    """Return for each webhook its hours since a time, its last success and failure, and what is held."""
    webhook_ids = json.dumps(list(ids))
    summaries: dict[str, WebhookSummary] = {}
    for row in conn.execute(_STANDING, (webhook_ids, COUNTED + 1)):
        summaries[row["id"]] = {
            "hours": [],
            "last_at": row["both"] or row["either"],
            "last_success": row["last_success_at"],
            "last_failure": row["last_failure_at"],
            "failures_in_a_row": row["failures_in_a_row"],
            "failing_since": row["failing_since"],
            "held": min(row["held"], COUNTED),
            "held_more": row["held"] > COUNTED,
        }
    for row in conn.execute(_HOURS, (webhook_ids, clock.text(since)[:13])):
        if row["webhook_id"] in summaries:
            summaries[row["webhook_id"]]["hours"].append(row_as(Hour, row))
    return summaries


def webhook(conn: sqlite3.Connection, webhook_id: str, since: datetime, now: datetime) -> WebhookOverview:
    """Return one webhook with its standing, the change of its secret if there is one, and what holds its others up."""
    return {
        "webhook": webhooks.get(conn, webhook_id),
        **of_webhooks(conn, [webhook_id], since)[webhook_id],
        "rotation": rotation.state(conn, webhook_id, now),
        "waits_for": order.held_up_by(conn, webhook_id),
    }


def page(
    conn: sqlite3.Connection, project_id: str | None, since: datetime, *, limit: int, offset: int
) -> tuple[list[ListedWebhook], bool]:
    """Return webhooks, oldest first, each with its standing, and whether there are more."""
    rows = webhooks.find(conn, project_id=project_id)
    page_rows = rows[offset : offset + limit]
    standing = of_webhooks(conn, [row.id for row in page_rows], since)
    return [{"webhook": row, **standing[row.id]} for row in page_rows], len(rows) > offset + limit


def projects(conn: sqlite3.Connection, limit: int) -> list[str]:
    """Return the projects that have webhooks, at most `limit`."""
    rows = conn.execute(
        "SELECT DISTINCT project_id FROM webhooks WHERE deleted_at IS NULL ORDER BY project_id LIMIT ?", (limit,)
    )
    return [row[0] for row in rows]


def projects_of(conn: sqlite3.Connection, delivery_ids: Sequence[str]) -> dict[str, str]:
    """Return the project of each delivery that is there."""
    return {row[0]: row[1] for row in conn.execute(_PROJECTS, (json.dumps(delivery_ids),))}


def names(conn: sqlite3.Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return the description of each webhook that is there, which may be empty."""
    rows = conn.execute(
        "SELECT w.id, w.description FROM json_each(?) v CROSS JOIN webhooks w ON w.id = v.value "
        "WHERE w.deleted_at IS NULL",
        (json.dumps(ids),),
    )
    return {row[0]: row[1] for row in rows}
