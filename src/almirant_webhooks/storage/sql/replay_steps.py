"""What one step of a replay does at its webhook, bounded in events. Call it inside a transaction."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import NamedTuple

from ... import clock
from ...model import State
from ...rules.replays import ReplaySelection, reach
from . import later_deliveries
from .session import Row, Session
from .webhooks import get

LOOKED_AT = 1000  # events of all projects in one step
_SPAN = """
SELECT e.created_at, e.seq, e.project_id, e.event_type, e.id
FROM events e INDEXED BY events_by_time
WHERE (e.created_at, e.seq) > (?, ?) AND e.created_at >= ? AND e.created_at <= ? AND e.created_at < ?
ORDER BY e.created_at, e.seq LIMIT ?
"""
_TESTS = "SELECT test FROM events WHERE seq = ?"
_RESEND = "UPDATE deliveries SET resend_requested_at = ?, resend_id = ? WHERE id = ?"
_PRUNED_BEFORE = "SELECT pruned_before FROM database_meta"
_TEST_IDS = "evt_test_"
LATEST = "9999-12-31T23:59:59.999Z"  # sorts behind every time


class Reached(NamedTuple):
    """How many deliveries were asked for and events looked at, up to where, and whether that was all."""

    requested: int
    looked_at: int
    place: str
    is_done: bool


def reach_of(conn: Session, created_at: str, now: datetime, kept: timedelta) -> str:
    """Return from when on a webhook that was created at a time can be sent what it lacks; empty for all that is kept."""
    return reach(created_at, now, kept, conn.execute(_PRUNED_BEFORE).fetchone()[0])


def advance(conn: Session, part: Row, now: datetime, kept: timedelta, room: int) -> Reached:
    """Make the deliveries of the next events that have none, oldest first, `room` at most.

    Subscriptions are those of this moment, and what may have been removed since the last step is left out.
    """
    selection = ReplaySelection.load(json.loads(part["filters"]))
    webhook = get(conn, part["webhook_id"])
    created_at, _, seq = part["reached"].partition(" ")
    rows = conn.execute(
        _SPAN,
        (
            created_at or clock.EARLIEST,
            int(seq or 0),
            max(clock.text(selection.since), reach_of(conn, webhook.created_at, now, kept)),
            part["created_at"],
            clock.text(selection.until) if selection.until is not None else LATEST,
            LOOKED_AT,
        ),
    ).fetchall()
    candidates = [
        row
        for row in rows
        if row["project_id"] == webhook.project_id and selection.matches(row["event_type"], webhook.events)
    ]
    known = later_deliveries.known(conn, webhook.id, [row["seq"] for row in candidates])
    gone = later_deliveries.erased(conn, [row["seq"] for row in candidates if row["seq"] not in known])
    chosen: list[tuple[Row, str | None]] = []  # with the cancelled delivery that is sent again
    last = rows[-1] if rows else None
    for row in candidates:
        delivery = known.get(row["seq"])
        if delivery is None and row["seq"] not in gone and not _is_test(conn, row):
            chosen.append((row, None))
        elif delivery is not None and selection.include_cancelled and is_cancelled(delivery):
            chosen.append((row, delivery["id"]))
        if len(chosen) == room:
            last = row
            break
    wanted = [row for row, cancelled in chosen if cancelled is None]
    made = later_deliveries.make(conn, webhook.id, [row["seq"] for row in wanted], now, resend_id=part["resend_id"])
    if made.events < len(wanted):
        last = wanted[made.events - 1]
        chosen = chosen[: chosen.index((last, None)) + 1]
    cancelled = [delivery_id for _, delivery_id in chosen if delivery_id is not None]
    conn.executemany(_RESEND, [(clock.text(now), part["resend_id"], delivery_id) for delivery_id in cancelled])
    place = part["reached"] if last is None else f"{last['created_at']} {last['seq']}"
    is_done = len(rows) < LOOKED_AT and (last is None or last is rows[-1])
    return Reached(len(made.ids) + len(cancelled), len(rows), place, is_done)


def is_cancelled(delivery: Row) -> bool:
    """Tell whether a replay that includes cancelled deliveries sends this one again."""
    is_whole = not delivery["test"] and not delivery["erased"]
    return delivery["state"] == State.CANCELLED and is_whole and delivery["resend_requested_at"] is None


def _is_test(conn: Session, row: Row) -> bool:
    """Tell whether an event is a test's; the row itself, which may be large, is read for those alone that are named so."""
    return row["id"].startswith(_TEST_IDS) and bool(conn.execute(_TESTS, (row["seq"],)).fetchone()[0])
