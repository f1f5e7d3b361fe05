"""Makes deliveries of events that are kept, after their fan-out, by the webhook's options of this moment.

An event has one delivery for a webhook at most: whether there is one is looked up in the transaction that makes it. Call the
functions inside a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ... import clock
from ...model import NotFound, Refused
from ...rules import erasing
from ...rules.filters import compiled
from ...rules.texts import Text
from . import audit
from .fanout import delivery_ids
from .health import report_failed
from .rendering import MAX_BYTES, Bodies
from .revisions import bump_revision
from .session import Row, Session

_KNOWN = """
SELECT CAST(v.value AS INTEGER), d.id, d.state, d.test, d.erased, d.resend_requested_at
FROM json_each(?) v CROSS JOIN deliveries d ON d.event_seq = CAST(v.value AS INTEGER) AND d.webhook_id = ?
"""
_ERASED = """
SELECT e.seq FROM json_each(?) v CROSS JOIN events e ON e.seq = CAST(v.value AS INTEGER) WHERE e.erased_at IS NOT NULL
"""
_INSERT = """
INSERT INTO deliveries (id, event_seq, event_id, webhook_id, next_attempt_at, created_at, generation, resend_requested_at,
                        resend_id, rendered)
SELECT ?1, e.seq, e.id, w.id, ?4, ?4, w.generation, ?7, ?5, ?6
FROM events e, webhooks w WHERE e.seq = ?2 AND w.id = ?3
"""


class Made(NamedTuple):
    """The deliveries that were made, and of how many events from the first on that is all."""

    ids: list[str]
    events: int


def check_enabled(webhook_id: str, *, enabled: bool) -> None:
    """Raise `Refused` for a disabled webhook: nothing is sent to it again before it is enabled."""
    if not enabled:
        raise Refused(Text("Webhook {webhook_id} is disabled; enable it first.", webhook_id=webhook_id))


def known(conn: Session, webhook_id: str, seqs: Sequence[int]) -> dict[int, Row]:
    """Return the deliveries that a webhook has of events, by the events' rows."""
    return {row[0]: row for row in conn.execute(_KNOWN, (json.dumps(seqs), webhook_id))}


def erased(conn: Session, seqs: Sequence[int]) -> set[int]:
    """Return which of these events have no content any more: nothing can be sent of them."""
    return {row[0] for row in conn.execute(_ERASED, (json.dumps(seqs),))}


def make(conn: Session, webhook_id: str, seqs: Sequence[int], now: datetime, *, resend_id: str | None = None) -> Made:
    """Make the delivery of each event for a webhook, in this order; none of them may have one.

    Each begins at once, with its whole schedule. A replay's, which has a `resend_id`, are made of events alone that the
    webhook's filter lets through, and their first attempts give way to what is due. A template is rendered, as at a fan-out:
    after a megabyte of bodies the other events are left to the next call.
    """
    template, filter_text = conn.execute("SELECT template, filter FROM webhooks WHERE id = ?", (webhook_id,)).fetchone()
    filter_ = compiled(filter_text) if filter_text is not None and resend_id is not None else None
    ids, bodies, size, looked_at, now_text = delivery_ids(now), Bodies(), 0, 0, clock.text(now)
    made: list[tuple[object, ...]] = []
    for seq in seqs:
        if size + bodies.size >= MAX_BYTES:
            break
        looked_at += 1
        delivery_id, rendered = next(ids), False
        if template is not None or filter_ is not None:
            (body,) = conn.execute("SELECT body FROM events WHERE seq = ?", (seq,)).fetchone()
            size += len(body)
            if filter_ is not None and filter_.unmet(bodies.read(body)) is not None:
                continue
            rendered = template is not None and bodies.render(delivery_id, template, body) is not body
        asked_at = None if resend_id is None else now_text
        made.append((delivery_id, seq, webhook_id, now_text, resend_id, rendered, asked_at))
    conn.executemany(_INSERT, made)
    bodies.write(conn)
    if bodies.failed:
        report_failed(conn, bodies.failed, now)
    return Made([str(row[0]) for row in made], looked_at)


def send_to(conn: Session, project_id: str, event_id: str, webhook_id: str, now: datetime, *, actor: str) -> str:
    """Make the delivery of one event for a webhook of its project, with its audit entry; return the delivery's id.

    Raises `NotFound`; `Refused` for a disabled webhook, a test's event, and where there is one already.
    """
    webhook = conn.execute(
        "SELECT enabled FROM webhooks WHERE id = ? AND project_id = ? AND deleted_at IS NULL", (webhook_id, project_id)
    ).fetchone()
    if webhook is None:
        raise NotFound(Text("The event's project has no webhook {webhook_id}.", webhook_id=webhook_id), "webhook_id")
    event = conn.execute(
        "SELECT seq, test, erased_at FROM events WHERE project_id = ? AND id = ?", (project_id, event_id)
    ).fetchone()
    if event is None:
        raise NotFound(
            Text(
                "Project {project_id}, which the webhook belongs to, has no event {event_id}.",
                project_id=project_id,
                event_id=event_id,
            ),
            "id",
        )
    if event[1]:
        raise Refused(Text("{event_id} is the sample event of a test; send another test.", event_id=event_id))  # fmt: skip
    if event[2] is not None:
        raise Refused(erasing.gone(event_id))
    delivery = known(conn, webhook_id, [event[0]]).get(event[0])
    if delivery is not None:
        raise Refused(
            Text(
                "The webhook has {event_id} already, as {id}; resend that delivery.",
                event_id=event_id,
                id=delivery["id"],
            )
        )
    check_enabled(webhook_id, enabled=bool(webhook[0]))
    ((delivery_id,), _) = make(conn, webhook_id, [event[0]], now)
    audit.note(
        conn,
        "event.sent_to",
        actor=actor,
        now=now,
        project_id=project_id,
        webhook_id=webhook_id,
        delivery_id=delivery_id,
        detail=event_id,
    )
    bump_revision(conn)
    return delivery_id
