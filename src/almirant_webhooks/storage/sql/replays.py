"""Replays: counted and begun here; `resend_steps` advances them, and `resends` shows and cancels them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from ... import clock
from ...model import Refused, Webhook
from ...rules.bodies import Body
from ...rules.filters import compiled, text_of
from ...rules.replays import NOTHING, ReplayCount, ReplaySelection
from ...rules.texts import Text
from . import held, replay_steps, resends
from .later_deliveries import check_enabled
from .session import Session
from .webhooks import get

COUNTED = 1_000_000  # events that a count looks at
READ = 20_000  # bodies that it reads, where the webhook has a filter

PART = 5_000  # events of all projects that a part of a count looks at

_PART_END = """
SELECT created_at FROM events INDEXED BY events_by_time WHERE created_at >= ? ORDER BY created_at LIMIT 1 OFFSET ?
"""
_LOOKED_AT = """
SELECT count(*) FROM (SELECT 1 FROM events INDEXED BY events_by_time WHERE created_at >= ?1 AND created_at < ?2 LIMIT ?3)
"""
# By type, so that which of them match is told by the rule of subscriptions. Whether an event has a delivery is in an index,
# whether that was cancelled in its row.
_COUNT = """
SELECT e.event_type, count(*) FILTER (WHERE d.event_seq IS NULL AND e.erased_at IS NULL) AS missing,
       count(*) FILTER (WHERE d.event_seq IS NULL AND e.erased_at IS NOT NULL) AS erased, {cancelled} AS cancelled
FROM webhooks w CROSS JOIN events e INDEXED BY events_by_time ON e.project_id = w.project_id
LEFT JOIN deliveries d ON d.event_seq = e.seq AND d.webhook_id = w.id
WHERE w.id = ?3 AND e.created_at >= ?1 AND e.created_at < ?2
  AND CASE WHEN e.id GLOB 'evt_test_*' THEN e.test ELSE 0 END = 0
GROUP BY e.event_type
"""
_CANCELLED = f"""
count(*) FILTER (WHERE d.test = 0 AND d.erased = 0 AND d.resend_requested_at IS NULL AND {held.STATE} = 'cancelled')
"""
# Of some types, those that have no delivery, for which a filter has to look at each body.
_MISSING = """
SELECT e.body FROM webhooks w CROSS JOIN events e INDEXED BY events_by_time ON e.project_id = w.project_id
WHERE w.id = ?3 AND e.created_at >= ?1 AND e.created_at < ?2
  AND e.event_type IN (SELECT value FROM json_each(?4))
  AND CASE WHEN e.id GLOB 'evt_test_*' THEN e.test ELSE 0 END = 0
  AND e.erased_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = e.seq AND d.webhook_id = w.id)
"""


def count(conn: Session, selection: ReplaySelection, *, now: datetime, kept: timedelta) -> ReplayCount:
    """Return how many events would be sent, and how far back that reaches; `kept` is how long deliveries are at least.

    Raises `NotFound`, and `Refused` for a disabled webhook and where more would have to be looked at than people wait for.
    """
    webhook = _webhook_of(conn, selection)
    reaches = replay_steps.reach_of(conn, webhook.created_at, now, kept)
    end = replay_steps.LATEST if selection.until is None else clock.text(selection.until)
    span = (max(clock.text(selection.since), reaches), end)
    if conn.execute(_LOOKED_AT, (*span, COUNTED + 1)).fetchone()[0] > COUNTED:
        raise Refused(
            Text("More than {counted:,} events would have to be looked at; narrow it by time.", counted=COUNTED),
            "since",
        )
    statement = _COUNT.format(cancelled=_CANCELLED if selection.include_cancelled else "0")
    matching = [
        row
        for row in conn.execute(statement, (*span, webhook.id))
        if selection.matches(row["event_type"], webhook.events)
    ]
    cancelled = sum(row["cancelled"] for row in matching)
    missing = sum(row["missing"] for row in matching)
    if missing and webhook.filter is not None:
        if missing > READ:
            raise Refused(
                Text(
                    "More than {read:,} events would have to be read to find those that the filter lets through; narrow it by time.",
                    read=READ,
                ),
                "since",
            )
        filter_ = compiled(text_of(webhook.filter))
        types = json.dumps([row["event_type"] for row in matching])
        missing = sum(
            filter_.unmet(Body.of(row[0])) is None for row in conn.execute(_MISSING, (*span, webhook.id, types))
        )
    return {
        "webhook_id": webhook.id,
        "events": missing + cancelled,
        "erased": sum(row["erased"] for row in matching),
        "since": span[0],
        "reaches_back_to": reaches or None,
    }


def part_end(conn: Session, since: datetime) -> datetime | None:
    """Return when the part ends that begins at a time: `PART` events later, and at least a millisecond; None for the last."""
    row = conn.execute(_PART_END, (clock.text(since), PART)).fetchone()
    return None if row is None else max(clock.parse(row[0]), since + timedelta(milliseconds=1))


def _webhook_of(conn: Session, selection: ReplaySelection) -> Webhook:
    """Return the webhook of a replay; raises `NotFound`, and `Refused` for one that is disabled.

    So it does for what would break an order: a cancelled delivery is sent again as a resend, outside of it.
    """
    webhook = get(conn, selection.webhook_id)
    check_enabled(webhook.id, enabled=webhook.enabled)
    if webhook.ordered and selection.include_cancelled:
        raise Refused(
            Text(
                "An ordered webhook would get its cancelled deliveries outside of their order; send them again one by one."
            ),
            "include_cancelled",
        )
    return webhook


def start(conn: Session, selection: ReplaySelection, count: ReplayCount, *, actor: str, now: datetime) -> str:
    """Begin a replay that `count` has counted; return the id by which it is followed, as a resend of many.

    Refused for a disabled webhook, for no events, and while another replay of this webhook is under way.
    """
    webhook = _webhook_of(conn, selection)
    other = conn.execute("SELECT id FROM resends WHERE replay_of = ? AND finished_at IS NULL", (webhook.id,)).fetchone()
    if other is not None:
        raise Refused(
            Text(
                "The replay {other} of this webhook is under way already; wait for its end, or cancel it.",
                other=other[0],
            )
        )
    if not count["events"]:
        raise Refused(NOTHING)
    return resends.begin(
        conn,
        selection.dump(),
        {webhook.id: count["events"]},
        actor=actor,
        now=now,
        project_id=webhook.project_id,
        replay_of=webhook.id,
    )
