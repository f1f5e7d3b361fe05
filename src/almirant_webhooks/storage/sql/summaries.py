"""Summaries of many webhooks for the pages, from stored counts and never from the log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from ... import clock
from ...model import Health, NotFound
from ...rules import decoding
from ...rules.searching import folded
from ...rules.texts import Text
from ...rules.trouble import MOST_WAITING, LastFailure, Trouble
from ..engine import WebhookPage
from ..records import Hour, ListedWebhook, WebhookOverview, WebhookSummary
from . import order, rotation, webhooks
from .hours import HOUR
from .rows import row_as
from .selecting import UNWELL, id_at
from .session import Session

COUNTED = 10_000  # held deliveries of one webhook; beyond it a page says "10,000+"
_NEWEST = 20  # deliveries among which the last failure is looked for
_IN_ORDER = tuple(Health)
_PLACES = {health: place for place, health in enumerate(Health)}

_HOURS = """
SELECT json_group_array(json_array(h.webhook_id, h.hour, h.succeeded, h.failed))
FROM json_each(?1) v CROSS JOIN webhook_hours h ON h.webhook_id = v.value AND h.hour >= ?2
"""
_STANDING = """
SELECT w.id, max(w.last_success_at, w.last_failure_at) AS both,
       coalesce(w.last_success_at, w.last_failure_at) AS either, w.last_success_at, w.last_failure_at,
       w.failures_in_a_row, CASE WHEN w.failing_noticed_at IS NOT NULL THEN w.failing_since END AS failing_since,
       CASE WHEN w.enabled = 0 THEN (SELECT count(*) FROM (SELECT 1 FROM deliveries d
            WHERE d.webhook_id = w.id AND d.generation = w.generation AND d.state = 'pending' AND d.in_flight = 0 LIMIT ?2)) ELSE 0 END AS held
FROM json_each(?1) v CROSS JOIN webhooks w ON w.id = v.value
"""
# Of the webhook `w`: a place in `Health`.
_HEALTH = f"""
CASE WHEN w.enabled = 0 THEN iif(w.disabled_reason IS NULL, {_PLACES[Health.OFF]}, {_PLACES[Health.DISABLED]})
     WHEN w.failing_noticed_at IS NOT NULL AND w.failing_since IS NOT NULL THEN {_PLACES[Health.FAILING]}
     WHEN w.failures_in_a_row > 0 THEN {_PLACES[Health.FAILED]} ELSE {_PLACES[Health.WELL]} END
"""
_ALL = f"""
SELECT w.id, w.description, w.url, {_HEALTH} AS health FROM webhooks w
WHERE w.deleted_at IS NULL AND (?1 IS NULL OR w.project_id = ?1)
"""
_TROUBLE = f"""
SELECT {_HEALTH} AS health, iif(w.enabled, w.failing_since, coalesce(w.down_since, w.disabled_at)) AS since, w.failures_in_a_row,
       coalesce(w.last_success_at, w.created_at) AS well_at,
       (SELECT count(*) FROM (SELECT 1 FROM deliveries d INDEXED BY deliveries_due_of_a_webhook WHERE d.webhook_id = w.id
        AND d.generation = w.generation AND d.state = 'pending' AND d.in_flight = 0 LIMIT ?2)) AS waiting
FROM webhooks w WHERE w.id = ?1 AND w.deleted_at IS NULL
"""
_GIVEN_UP = """
SELECT count(*) FILTER (WHERE state = 'failed' AND test = 0) FROM (SELECT d.state, d.test FROM deliveries d INDEXED BY deliveries_given_up
    WHERE d.webhook_id = ? AND d.id >= ? AND d.state IN ('failed', 'cancelled') ORDER BY d.id LIMIT ?)
"""
# The newest deliveries are looked at, of which an older one may have been tried last.
_LAST_FAILURE = f"""
SELECT d.id AS delivery_id, a.started_at, a.outcome, a.status_code, a.cause, a.url, a.response_headers, a.response_body_cut,
       iif(e.erased_at IS NULL, a.response_body, NULL) AS response_body
FROM (SELECT d.id, d.event_seq, d.last_number, d.test FROM deliveries d INDEXED BY deliveries_unwell
      WHERE d.webhook_id = ? {UNWELL} ORDER BY d.id DESC LIMIT {_NEWEST}) d
CROSS JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number
CROSS JOIN events e ON e.seq = d.event_seq
WHERE d.test = 0 AND a.outcome <> 'interrupted' ORDER BY a.started_at DESC LIMIT 1
"""
_PROJECTS = """
SELECT d.id, w.project_id FROM json_each(?) v CROSS JOIN deliveries d ON d.id = v.value
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
"""


def of_webhooks(conn: Session, ids: Iterable[str]) -> dict[str, WebhookSummary]:
    """Return for each webhook its last success and failure, and what is held."""
    return {
        row["id"]: {
            "last_at": row["both"] or row["either"],
            "last_success": row["last_success_at"],
            "last_failure": row["last_failure_at"],
            "failures_in_a_row": row["failures_in_a_row"],
            "failing_since": row["failing_since"],
            "held": min(row["held"], COUNTED),
            "held_more": row["held"] > COUNTED,
        }
        for row in conn.execute(_STANDING, (json.dumps(list(ids)), COUNTED + 1))
    }


def _hours(conn: Session, ids: Iterable[str], since: datetime) -> dict[str, list[Hour]]:
    """Return by webhook how many attempts of each hour succeeded and failed; new ones are stored by five minutes."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for webhook_id, stored, succeeded, failed in conn.read_rows(
        _HOURS, json.dumps(list(ids)), clock.text(since)[:HOUR]
    ):
        hours, start = found.setdefault(webhook_id, {}), stored[:HOUR]
        before = hours.get(start, (0, 0))
        hours[start] = (before[0] + succeeded, before[1] + failed)
    return {
        webhook_id: [Hour(start, *both) for start, both in sorted(hours.items())] for webhook_id, hours in found.items()
    }


def webhook(conn: Session, webhook_id: str, now: datetime) -> WebhookOverview:
    """Return one webhook with its standing, the change of its secret if there is one, and what holds its others up."""
    row = webhooks.get(conn, webhook_id)
    place = conn.execute(f"SELECT {_HEALTH} FROM webhooks w WHERE w.id = ?", (webhook_id,)).fetchone()[0]
    return {
        "webhook": row,
        "health": _IN_ORDER[place],
        **of_webhooks(conn, [webhook_id])[webhook_id],
        "rotation": rotation.state(conn, webhook_id, now),
        "waits_for": order.held_up_by(conn, webhook_id),
    }


def page(
    conn: Session,
    project_id: str | None,
    since: datetime,
    *,
    limit: int,
    offset: int,
    text: str = "",
    health: Health | None = None,
) -> WebhookPage:
    """Return webhooks in the order of trouble, then by name, each with its standing; text and health select among them."""
    wanted = folded(text)
    listed = [
        (row["health"], folded(row["description"] or row["url"].partition("://")[2]), row["id"])
        for row in conn.execute(_ALL, (project_id,))
        if not wanted or wanted in folded(row["description"]) or wanted in folded(row["url"])
    ]
    counts = Counter(_IN_ORDER[place] for place, _, _ in listed)
    shown = sorted(row for row in listed if health is None or _IN_ORDER[row[0]] is health)
    places = {webhook_id: place for place, _, webhook_id in shown[offset : offset + limit]}
    standing, hours = of_webhooks(conn, places), _hours(conn, places, since)
    by_id = webhooks.of_ids(conn, places)
    rows: list[ListedWebhook] = [
        {
            "webhook": by_id[webhook_id],
            "health": _IN_ORDER[place],
            "hours": hours.get(webhook_id, []),
            **standing[webhook_id],
        }
        for webhook_id, place in places.items()
    ]
    return WebhookPage(rows, {each: counts[each] for each in Health}, len(shown) > offset + limit)


def trouble(conn: Session, webhook_id: str) -> Trouble:
    """Return what is wrong with a webhook: since when, its last failure, and what waits and was given up."""
    row = conn.execute(_TROUBLE, (webhook_id, MOST_WAITING + 1)).fetchone()
    if row is None:
        raise NotFound(Text("There is no webhook {webhook_id}.", webhook_id=webhook_id), "id")
    given_up, made_since = 0, row["since"]
    if made_since is not None:
        made_since = min(made_since, row["well_at"])  # what fails first was made before its first failure
        floor = id_at(clock.parse(made_since))
        given_up = int(conn.execute(_GIVEN_UP, (webhook_id, floor, MOST_WAITING + 1)).fetchone()[0])
    return {
        "health": _IN_ORDER[row["health"]],
        "since": row["since"],
        "made_since": made_since,
        "failures_in_a_row": row["failures_in_a_row"],
        "last_failure": _last_failure(conn, webhook_id),
        "waiting": min(row["waiting"], MOST_WAITING),
        "waiting_more": row["waiting"] > MOST_WAITING,
        "given_up": min(given_up, MOST_WAITING),
        "given_up_more": given_up > MOST_WAITING,
    }


def _last_failure(conn: Session, webhook_id: str) -> LastFailure | None:
    row = conn.execute(_LAST_FAILURE, (webhook_id,)).fetchone()
    if row is None:
        return None
    headers = [(name, value) for name, value in json.loads(row["response_headers"] or "[]")]
    answer = decoding.show(row["response_body"] or b"", headers, cut=bool(row["response_body_cut"]))
    return row_as(LastFailure, row, answer=answer.text if answer.is_text else "")


def projects(conn: Session, limit: int) -> list[str]:
    """Return the projects that have webhooks, at most `limit`."""
    rows = conn.execute(
        "SELECT DISTINCT project_id FROM webhooks WHERE deleted_at IS NULL ORDER BY project_id LIMIT ?", (limit,)
    )
    return [row[0] for row in rows]


def projects_of(conn: Session, delivery_ids: Sequence[str]) -> dict[str, str]:
    """Return the project of each delivery that is there."""
    return {row[0]: row[1] for row in conn.execute(_PROJECTS, (json.dumps(delivery_ids),))}


def names(conn: Session, ids: Sequence[str]) -> dict[str, str]:
    """Return the description of each webhook that is there, which may be empty."""
    rows = conn.execute(
        "SELECT w.id, w.description FROM json_each(?) v CROSS JOIN webhooks w ON w.id = v.value "
        "WHERE w.deleted_at IS NULL",
        (json.dumps(ids),),
    )
    return {row[0]: row[1] for row in rows}
