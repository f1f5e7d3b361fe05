"""The read side: deliveries, attempts and events as people look at them. Nothing here writes."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from typing import Any

from ... import clock
from ...model import NotFound, Refused
from ...rules import decoding
from ...rules.signing import restored
from . import held, verdicts
from .in_flight import UNKNOWN, open_of
from .text import folded


def id_at(moment: datetime) -> str:
    """Return the first id that a delivery of this time can have: ids sort by time."""
    return f"dlv_{max(0, int(moment.timestamp() * 1000)):012x}"


def conditions(
    *,
    project_id: str | None = None,
    webhook_id: str | None = None,
    state: str | None = None,
    status: str | None = None,
    event_type: str | None = None,
    event_id: str | None = None,
    cause: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[list[str], list[object]]:
    """Return conditions on `delivery_log` with their values.

    `state` may be `held`; `status` a code, a class (`5xx`) or a word of the view; `cause` a part of any attempt's;
    `since` and `until` bound when the delivery was made.
    """
    equal = {"project_id": project_id, "webhook_id": webhook_id, "event_type": event_type, "event_id": event_id}
    where = [f"delivery_log.{column} = ?" for column, value in equal.items() if value is not None]
    values: list[object] = [value for value in equal.values() if value is not None]

    def add(condition: str, value: object) -> None:
        where.append(condition)
        values.append(value)

    if state == "held":
        where.append("held = 1")
    elif state is not None:
        add("delivery_log.state = ?", state)
    if status is not None:
        is_class = len(status) == 3 and status.endswith("xx")
        add("status GLOB ?" if is_class else "status = ?", f"{status[0]}[0-9][0-9]" if is_class else status)
    if cause is not None:
        add(
            "EXISTS (SELECT 1 FROM attempts a WHERE a.delivery_id = delivery_log.delivery_id "
            "AND instr(lower(a.cause), lower(?)) > 0)",
            cause,
        )
    if since is not None:
        add("delivery_log.delivery_id >= ?", id_at(since))
    if until is not None:
        add("delivery_log.delivery_id < ?", id_at(until))
    return where, values


def deliveries(
    conn: sqlite3.Connection, *, limit: int = 50, before: str | None = None, **filters: Any
) -> list[dict[str, Any]]:
    """Return rows of `delivery_log`, newest first; `before` is the id of a delivery to go on after."""
    where, values = conditions(**filters)
    if before is not None:
        where.append("delivery_id < ?")
        values.append(before)
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    rows = conn.execute(f"SELECT * FROM delivery_log {condition} ORDER BY delivery_id DESC LIMIT ?", (*values, limit))
    return [dict(row) for row in rows]


def delivery(conn: sqlite3.Connection, delivery_id: str) -> dict[str, Any]:
    """Return one delivery: its row of `delivery_log`, its body, and every attempt with headers and answer."""
    row = conn.execute("SELECT * FROM delivery_log WHERE delivery_id = ?", (delivery_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no delivery {delivery_id}.", "id")
    more = conn.execute(
        f"SELECT e.body, d.test, {held.REASON} AS cancelled_reason, "
        f"CASE WHEN NOT {held.IS_DISCARDED} THEN d.resend_requested_at END AS resend_requested_at "
        "FROM deliveries d JOIN events e ON e.seq = d.event_seq JOIN webhooks w ON w.id = d.webhook_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    rows = conn.execute(
        "SELECT l.number, l.trigger, l.started_at, l.duration_ms, l.outcome, l.status, a.status_code, l.cause, l.url, "
        "a.request_headers, a.response_headers, a.response_body, coalesce(a.response_body_cut, 0) AS body_cut "
        "FROM attempt_log l LEFT JOIN attempts a ON a.delivery_id = l.delivery_id AND a.number = l.number "
        "WHERE l.delivery_id = ? ORDER BY l.number",
        (delivery_id,),
    )
    attempts = [dict(attempt) for attempt in rows]
    if attempts and attempts[-1]["outcome"] is None:
        in_flight = open_of(conn, delivery_id)
        attempts[-1]["request_headers"] = in_flight.headers if in_flight is not None else UNKNOWN
    found = {**dict(row), **dict(more)}
    sent = {
        "size": len(found["body"].encode()),
        "event_type": found["event_type"],
        "delivery_id": delivery_id,
        "test": bool(found.pop("test")),
    }
    return {**found, "attempt_list": [_attempt(one, sent) for one in attempts]}


def _attempt(attempt: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """Make an attempt readable; `response_body_note` says what was done with the body's bytes for that, if anything."""
    own = {name: attempt[name] for name in ("url", "number", "started_at")}
    attempt["request_headers"] = restored(attempt["request_headers"], **own, **sent)
    attempt["response_headers"] = json.loads(attempt["response_headers"] or "[]")
    attempt["body_cut"] = bool(attempt["body_cut"])
    body = decoding.show(attempt["response_body"] or b"", attempt["response_headers"], cut=attempt["body_cut"])
    attempt["response_body"], attempt["response_body_is_text"], attempt["response_body_note"] = body
    return attempt


EVERY_WEBHOOK = 1_000_000
_LAST_WEBHOOK = "wh_~"  # sorts behind every id
_WEBHOOKS = """
SELECT id FROM webhooks INDEXED BY webhooks_of_a_project WHERE project_id = ? AND deleted_at IS NULL AND id > ?
ORDER BY id LIMIT ?
"""
_OUTCOMES = """
SELECT * FROM event_outcomes WHERE project_id = ? AND event_id = ? AND webhook_id > ? AND webhook_id <= ? ORDER BY webhook_id
"""
_NO_WEBHOOK = "SELECT * FROM event_outcomes WHERE project_id = ?1 AND event_id = ?2 AND webhook_id IS NULL"
EVENTS = """
SELECT e.seq, e.id AS event_id, e.project_id, e.event_type, e.occurred_at, e.created_at,
       (SELECT count(*) FROM deliveries d WHERE d.event_seq = e.seq)
       - (SELECT count(*) FROM webhooks w INDEXED BY webhooks_to_erase CROSS JOIN deliveries d
          ON d.event_seq = e.seq AND d.webhook_id = w.id WHERE w.deleted_at IS NOT NULL) AS deliveries,
       e.unmatched, e.test
FROM events e
"""


def events(
    conn: sqlite3.Connection,
    *,
    project_id: str | None = None,
    event_type: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    text: str | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Return events, newest first, each with the number of its deliveries; `text` is one in the body."""
    wanted = None if text is None else folded(text)
    rows = conn.execute(
        f"{EVENTS} WHERE (?1 IS NULL OR e.project_id = ?1) AND (?2 IS NULL OR e.event_type = ?2) "
        "AND (?3 IS NULL OR e.created_at >= ?3) AND (?4 IS NULL OR e.created_at < ?4) "
        "AND (?5 IS NULL OR has_text(CAST(e.body AS BLOB), ?5)) ORDER BY e.seq DESC LIMIT ?6",
        (project_id, event_type, since and clock.text(since), until and clock.text(until), wanted, limit),
    )
    return [readable_event(row) for row in rows]


def readable_event(row: sqlite3.Row) -> dict[str, Any]:
    """Make an event's row readable."""
    return {**dict(row), "unmatched": bool(row["unmatched"]), "test": bool(row["test"])}


def event(
    conn: sqlite3.Connection,
    event_id: str,
    project_id: str | None = None,
    *,
    after: str = "",
    limit: int = EVERY_WEBHOOK,
) -> dict[str, Any]:
    """Return one event with its body and what became of it at `limit` webhooks, which come in the order of their ids.

    `after` is the webhook to go on behind: the `next_cursor` of the page before, None on the last one.
    """
    rows = conn.execute(
        f"{EVENTS} WHERE e.id = ?1 AND (?2 IS NULL OR e.project_id = ?2) LIMIT 10", (event_id, project_id)
    ).fetchall()
    if not rows:
        raise NotFound(f"There is no event {event_id}.", "id")
    if len(rows) > 1:
        projects = ", ".join(row["project_id"] for row in rows)
        raise Refused(
            f"The event id {event_id} is in several projects ({projects}); name one with --project.", "project"
        )
    found = rows[0]
    project_id = found["project_id"]
    ids = [row[0] for row in conn.execute(_WEBHOOKS, (project_id, after, limit + 1))]
    last = ids[limit - 1] if len(ids) > limit else None
    span = (project_id, event_id, after, last or _LAST_WEBHOOK)
    body = conn.execute("SELECT body FROM events WHERE seq = ?", (found["seq"],)).fetchone()[0]
    outcomes = [dict(row) for row in conn.execute(_OUTCOMES if ids or after else _NO_WEBHOOK, span)]
    return {
        **readable_event(found),
        "body": body,
        "outcomes": verdicts.add(conn, found["seq"], after, span[-1], outcomes),
        "next_cursor": last,
    }
