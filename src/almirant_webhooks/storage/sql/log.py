"""Reads deliveries, attempts and events for people. Nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ... import clock
from ...model import NotFound, Outcome, Refused
from ...rules import decoding
from ...rules.erasing import TIME_BYTES
from ...rules.event_types import family_of
from ...rules.searching import folded, has_text
from ...rules.selection import EventSelection
from ...rules.signing import unpack_headers
from ...rules.texts import Text
from ..engine import EVERY_WEBHOOK
from ..records import Attempt, DeliveryDetails, Event, EventDetails, Page
from . import held, order, verdicts
from .claiming import LAST_NUMBER
from .in_flight import UNKNOWN, open_of
from .rendering import BODY, FAILED_REASON
from .rows import row_as
from .session import Row, Session

MOST_ATTEMPTS = 50  # of a delivery that is read at once, the newest ones: a person may resend without an end
ATTEMPTS = """
SELECT l.number, l.trigger, l.started_at, l.duration_ms, l.outcome, l.status, a.status_code, l.cause, l.url,
       a.request_headers, a.response_headers, iif(e.erased_at IS NULL, a.response_body, NULL) AS response_body,
       coalesce(a.response_body_cut, 0) = 1 AND e.erased_at IS NULL AS body_cut
FROM attempt_log l JOIN deliveries d ON d.id = l.delivery_id JOIN events e ON e.seq = d.event_seq
LEFT JOIN attempts a ON a.delivery_id = l.delivery_id AND a.number = l.number
WHERE l.delivery_id = ? AND l.number BETWEEN ? AND ? ORDER BY l.number
"""
_LOOKED_BACK = 1_000  # attempts, of which nothing but the outcome is read
_SUCCESS = """
SELECT number FROM (SELECT number, outcome FROM attempts WHERE delivery_id = ? AND number >= ? AND number < ?) a
WHERE outcome = 'success' ORDER BY number DESC LIMIT 1
"""


def delivery(conn: Session, delivery_id: str, *, shown: int | None = None) -> DeliveryDetails:
    """Return one delivery: its row of `delivery_log`, its body as it is sent, and its newest attempts with headers and answers.

    With a number in `shown`, only that attempt, and those by which its outcome is told, have the answer's body: to
    decompress fifty of a hostile receiver takes long.
    """
    row, more = _rows(conn, delivery_id)
    last = more["last_number"]
    attempt_list = _attempts(conn, row, more, range(last - MOST_ATTEMPTS + 1, last + 1), shown)
    content = {**dict(more), "body": _shown(more), "waits_for": order.ahead_of(conn, delivery_id)}
    return row_as(DeliveryDetails, row, **content, attempt_list=attempt_list)


def attempt(conn: Session, delivery_id: str, number: int) -> Attempt | None:
    """Return one attempt of a delivery, however old it is; None where there is no such number."""
    row, more = _rows(conn, delivery_id)
    return next(iter(_attempts(conn, row, more, range(number, number + 1))), None)


def older_success(conn: Session, delivery_id: str, before: int) -> Attempt | None:
    """Return the newest attempt of a delivery that succeeded, of the 1,000 before that with the number `before`."""
    found = conn.execute(_SUCCESS, (delivery_id, before - _LOOKED_BACK, before)).fetchone()
    return None if found is None else attempt(conn, delivery_id, found["number"])


def _rows(conn: Session, delivery_id: str) -> tuple[Row, Row]:
    """Return a delivery's row of `delivery_log`, and what it has beside it."""
    row = conn.execute("SELECT * FROM delivery_log WHERE delivery_id = ?", (delivery_id,)).fetchone()
    if row is None:
        raise NotFound(Text("There is no delivery {delivery_id}.", delivery_id=delivery_id), "id")
    more = conn.execute(
        f"SELECT {BODY} AS body, {FAILED_REASON} AS failed_reason, e.erased_at, d.rendered, d.created_at, d.test, "
        f"{LAST_NUMBER} AS last_number, {held.REASON} AS cancelled_reason, "
        f"CASE WHEN NOT {held.IS_DISCARDED} THEN d.resend_requested_at END AS resend_requested_at "
        "FROM deliveries d JOIN events e ON e.seq = d.event_seq JOIN webhooks w ON w.id = d.webhook_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    return row, more


def _attempts(conn: Session, row: Row, more: Row, numbers: range, shown: int | None = None) -> list[Attempt]:
    """Return the attempts of some numbers, oldest first; see `delivery` for `shown`."""
    delivery_id = row["delivery_id"]
    attempts = conn.execute(ATTEMPTS, (delivery_id, numbers[0], numbers[-1])).fetchall()
    packed_headers = [attempt["request_headers"] for attempt in attempts]
    if attempts and attempts[-1]["outcome"] is None:
        in_flight = open_of(conn, delivery_id)
        packed_headers[-1] = in_flight.headers if in_flight is not None else UNKNOWN
    sent = {
        "size": len((more["body"] or "").encode()) + (TIME_BYTES if more["erased_at"] and not more["rendered"] else 0),
        "event_type": row["event_type"],
        "delivery_id": delivery_id,
        "test": bool(more["test"]),
    }
    answering = None if shown is None else {shown, *_told_by(attempts)}
    return [
        _attempt(attempt, headers, sent, has_answer=answering is None or attempt["number"] in answering)
        for attempt, headers in zip(attempts, packed_headers, strict=True)
    ]


def _told_by(attempts: Sequence[Row]) -> set[int]:
    """Return the numbers of the newest attempt that has ended, and of the newest that succeeded."""
    ended = [attempt["number"] for attempt in attempts if attempt["outcome"] is not None]
    succeeded = [attempt["number"] for attempt in attempts if attempt["outcome"] == Outcome.SUCCESS]
    return {*ended[-1:], *succeeded[-1:]}


def _shown(row: Row) -> str | None:
    """Return the body, without the blanks that stand in place of what was erased."""
    body: str | None = row["body"]
    return body.rstrip() if body is not None and row["erased_at"] is not None else body


def _attempt(row: Row, packed_headers: str, sent: dict[str, Any], *, has_answer: bool) -> Attempt:
    """Return an attempt for people; `packed_headers` are its headers as stored. Without `has_answer` its answer has no body."""
    own = {name: row[name] for name in ("url", "number", "started_at")}
    response_headers = tuple((name, value) for name, value in json.loads(row["response_headers"] or "[]"))
    body = row["response_body"] if has_answer else None
    answer = decoding.show(body or b"", response_headers, cut=bool(row["body_cut"]))
    return row_as(
        Attempt,
        row,
        request_headers=unpack_headers(packed_headers, **own, **sent),
        response_headers=response_headers,
        response_body=answer.text,
        response_body_is_text=answer.is_text,
        response_body_note=answer.note,
    )


EVERY_EVENT = EventSelection()
LOOKED_AT = 10_000  # rows that one page of events looks at
LAST_ROW = 2**63 - 1
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
       (SELECT count(*) FROM filtered_out f CROSS JOIN webhooks w ON w.id = f.webhook_id AND w.deleted_at IS NULL
        WHERE f.event_seq = e.seq) AS filtered_out,
       e.unmatched, e.test
FROM events e
"""

_MATCHING = """
WHERE e.seq < ?1 AND (e.project_id = ?2 OR ?2 IS NULL) AND (e.event_type = ?3 OR ?3 IS NULL)
AND (e.unmatched = ?4 OR ?4 IS NULL) AND (e.created_at >= ?5 OR ?5 IS NULL) AND (e.created_at < ?6 OR ?6 IS NULL)
AND e.seq >= ?7 AND (substr(e.event_type, 1, length(?9)) = ?9 OR ?9 IS NULL) ORDER BY e.seq DESC LIMIT ?8
"""
_LISTED = "WHERE e.seq IN (SELECT CAST(value AS INTEGER) FROM json_each(?))"
_BODIES_AT_ONCE = 50


def events(
    conn: Session, selection: EventSelection = EVERY_EVENT, *, limit: int = 50, cursor: int | None = None
) -> Page[Event]:
    """Return events, newest first, those before the row `cursor` if it is not None; it looks at 10,000 rows at most."""
    last = int(conn.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
    before = last + 1 if cursor is None else min(cursor, last + 1)
    floor = before - LOOKED_AT
    rows = _events(conn, selection, floor, before, limit + 1)
    items = [row_as(Event, row) for row in rows[:limit]]
    if len(rows) > limit:
        return Page(items, str(rows[limit - 1]["seq"]))
    if floor <= 1:
        return Page(items)
    first = conn.execute("SELECT created_at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", (floor,)).fetchone()
    if first is None or (selection.since is not None and first[0] < clock.text(selection.since)):
        return Page(items)
    return Page(items, str(floor), first[0])


def newest_events(conn: Session, selection: EventSelection = EVERY_EVENT, *, limit: int = 50) -> list[Event]:
    """Return the newest matching events of the whole log, in unbounded time. For commands alone."""
    return [row_as(Event, row) for row in _events(conn, selection, 0, LAST_ROW, limit)]


def _events(conn: Session, selection: EventSelection, begin: int, end: int, limit: int) -> list[Row]:
    """Return the newest matching events of the rows from `begin` to before `end`."""
    family = family_of(selection.event_type or "") or None
    if selection.text is None:
        values = (end, *_values(selection), begin, limit, family)
        return conn.execute(f"{EVENTS} {_MATCHING}", values).fetchall()
    seqs = json.dumps(_with_text(conn, selection, begin, end, limit, family))
    return sorted(conn.execute(f"{EVENTS} {_LISTED}", (seqs,)).fetchall(), key=lambda row: row["seq"], reverse=True)


def _with_text(
    conn: Session, selection: EventSelection, begin: int, end: int, limit: int, family: str | None
) -> list[int]:
    """Return the rows of the newest matching events whose bodies have the text, looking into a few at a time."""
    text, seqs = folded(selection.text or ""), list[int]()
    while len(seqs) < limit:
        values = (end, *_values(selection), begin, _BODIES_AT_ONCE, family)
        rows = conn.execute(f"SELECT e.seq, CAST(e.body AS BLOB) FROM events e {_MATCHING}", values).fetchall()
        seqs += [seq for seq, body in rows if has_text(body, text)]
        if len(rows) < _BODIES_AT_ONCE:
            break
        end = rows[-1][0]
    return seqs[:limit]


def _values(selection: EventSelection) -> tuple[object, ...]:
    since, until = selection.since, selection.until
    of_time = (since and clock.text(since), until and clock.text(until))
    exact = None if family_of(selection.event_type or "") else selection.event_type
    return (selection.project_id, exact, selection.unmatched, *of_time)


def event(
    conn: Session,
    event_id: str,
    project_id: str | None = None,
    *,
    after: str = "",
    limit: int = EVERY_WEBHOOK,
) -> EventDetails:
    """Return an event with its body and its outcomes at `limit` webhooks, in the order of their ids.

    `after` is the `next_cursor` of the page before: the webhook behind which this page begins.
    """
    rows = conn.execute(
        f"{EVENTS} WHERE e.id = ?1 AND (e.project_id = ?2 OR ?2 IS NULL) LIMIT 10", (event_id, project_id)
    ).fetchall()
    if not rows:
        raise NotFound(Text("There is no event {event_id}.", event_id=event_id), "id")
    if len(rows) > 1:
        projects = ", ".join(row["project_id"] for row in rows)
        raise Refused(
            Text(
                "The event id {event_id} is in several projects ({projects}); say which project is meant.",
                event_id=event_id,
                projects=projects,
            ),
            "project",
        )
    row = rows[0]
    project_id = row["project_id"]
    ids = [webhook[0] for webhook in conn.execute(_WEBHOOKS, (project_id, after, limit + 1))]
    last = ids[limit - 1] if len(ids) > limit else None
    span = (project_id, event_id, after, last or _LAST_WEBHOOK)
    content = conn.execute("SELECT body, erased_at FROM events WHERE seq = ?", (row["seq"],)).fetchone()
    has_rows = bool(ids or after)
    outcomes = conn.execute(_OUTCOMES if has_rows else _NO_WEBHOOK, span if has_rows else span[:2]).fetchall()
    judged = verdicts.add(conn, row["seq"], after, span[-1], outcomes)
    return row_as(
        EventDetails, row, body=_shown(content), erased_at=content["erased_at"], outcomes=judged, next_cursor=last
    )
