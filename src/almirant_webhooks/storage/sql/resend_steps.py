"""The steps of bulk resends, each bounded in webhooks and deliveries. Call the functions inside a transaction."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from ... import clock
from ...rules.selection import Selection
from ..engine import FIRST_RESEND, ResendPlace, ResendStep
from . import audit, replay_steps, selecting
from .claiming import IS_FIRST
from .deliveries import first_due
from .replay_steps import Reached
from .session import Row, Session

WAITING = 200  # deliveries of one webhook that wait at the same time: what a cancel takes back
LOOKED_AT = 1000  # deliveries of one webhook in one step
KEPT = timedelta(days=30)  # how long deliveries are kept at least, unless it is said
# Of all webhooks in one step, so that no other writer waits for long.
STEP_PARTS = 100
STEP_ASKS = 200
STEP_LOOKS = 2000

_PARTS = """
SELECT p.resend_id, p.webhook_id, p.reached, p.done, x.replay_of, x.filters, x.created_at, x.cancelled_at, x.cancelled_by,
       w.project_id,
       (w.id IS NOT NULL AND w.enabled = 1 AND w.discarding_since IS NULL) AS open
FROM resend_webhooks p INDEXED BY resend_parts_under_way CROSS JOIN resends x ON x.id = p.resend_id
LEFT JOIN webhooks w ON w.id = p.webhook_id AND w.deleted_at IS NULL
WHERE p.ended = 0 AND (p.resend_id, p.webhook_id) > (?, ?) ORDER BY p.resend_id, p.webhook_id LIMIT ?
"""
_WAITING = """
FROM deliveries INDEXED BY deliveries_waiting_in_a_resend
WHERE resend_id = ?1 AND webhook_id = ?2 AND resend_requested_at IS NOT NULL
"""
# What a replay has made and nobody has tried yet ends with it; all else is as it was before.
_TAKE_BACK = f"""
UPDATE deliveries NOT INDEXED SET resend_requested_at = NULL,
    state = iif({IS_FIRST}, 'cancelled', state), next_attempt_at = iif({IS_FIRST}, NULL, next_attempt_at),
    cancelled_reason = iif({IS_FIRST}, 'its replay was cancelled', cancelled_reason)
WHERE rowid IN (SELECT rowid {_WAITING} AND in_flight = 0)
"""
_REACHED = """
UPDATE resend_webhooks SET requested = requested + ?, reached = ?, done = ? WHERE resend_id = ? AND webhook_id = ?
"""
_FINISHED = """
UPDATE resends SET finished_at = ?1 WHERE id IN (SELECT value FROM json_each(?2)) AND finished_at IS NULL AND counts IS NULL
AND NOT EXISTS (SELECT 1 FROM resend_webhooks p INDEXED BY resend_parts_under_way WHERE p.resend_id = resends.id AND p.ended = 0)
RETURNING id
"""
_NOTED = """
SELECT EXISTS (SELECT 1 FROM audit WHERE at = ?1 AND project_id = ?2 AND action = ?3 AND detail = ?4)
"""
_PROJECTS = """
SELECT DISTINCT w.project_id FROM json_each(?) v CROSS JOIN webhooks w ON w.id = v.value WHERE w.deleted_at IS NULL
"""
_OLD_PARTS = """
DELETE FROM resend_webhooks WHERE (resend_id, webhook_id) IN (
    SELECT p.resend_id, p.webhook_id FROM json_each(?1) v CROSS JOIN resend_webhooks p ON p.resend_id = v.value LIMIT ?2)
"""


def under_way(conn: Session) -> bool:
    """Return whether a bulk resend is under way."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM resends INDEXED BY resends_to_part WHERE counts IS NOT NULL) "
        "OR EXISTS (SELECT 1 FROM resend_webhooks INDEXED BY resend_parts_under_way WHERE ended = 0)"
    )
    return bool(conn.execute(query).fetchone()[0])


def step(conn: Session, now: datetime, after: ResendPlace = FIRST_RESEND, *, kept: timedelta = KEPT) -> ResendStep:
    """Ask for the next few attempts at webhooks that have room for them, those behind `after` first, so that each has its turn.

    `kept` is how long deliveries are kept at least: replays reach no further back.
    """
    _make_more_parts(conn)
    parts = conn.execute(_PARTS, (*after, STEP_PARTS)).fetchall()
    if after != FIRST_RESEND and len(parts) < STEP_PARTS:
        parts += [
            row for row in conn.execute(_PARTS, (*FIRST_RESEND, STEP_PARTS - len(parts))) if tuple(row)[:2] <= after
        ]
    touched: set[str] = set()
    asks, looks, reached = STEP_ASKS, STEP_LOOKS, FIRST_RESEND
    for row in parts:
        resent, looked_at = _go_on(conn, row, now, asks, kept)
        asks, looks, reached = asks - resent, looks - looked_at, (row["resend_id"], row["webhook_id"])
        if resent:
            touched.add(row["webhook_id"])
        if asks <= 0 or looks <= 0:
            break
    seen = json.dumps(sorted({row["resend_id"] for row in parts}))
    finished = [row[0] for row in conn.execute(_FINISHED, (clock.text(now), seen)).fetchall()]
    return ResendStep(touched, first_due(conn, touched), finished, reached)


def _go_on(conn: Session, part: Row, now: datetime, max_resends: int, kept: timedelta) -> tuple[int, int]:
    """Go on with a part, and end it when it is over; return how many attempts were asked for and rows looked at."""
    key = (part["resend_id"], part["webhook_id"])
    if part["project_id"] is None:  # the webhook was deleted
        conn.execute("DELETE FROM resend_webhooks WHERE resend_id = ? AND webhook_id = ?", key)
    elif part["cancelled_at"] is not None:
        return 0, take_back(conn, part)
    elif part["done"]:
        _end_unless_waiting(conn, key)
    elif part["open"]:
        room, cost = _room(conn, key, max_resends)
        if room <= 0:
            return 0, cost
        if part["replay_of"] is not None:
            reached = replay_steps.advance(conn, part, now, kept, room)
        else:
            reached = _advance(conn, part, now, room)
        conn.execute(_REACHED, (reached.requested, reached.place, int(reached.is_done), *key))
        return reached.requested, reached.looked_at
    return 0, 1


def _room(conn: Session, key: ResendPlace, max_resends: int) -> tuple[int, int]:
    """Return how many more deliveries may wait at a webhook, and about how many rows were looked at to find out."""
    waiting = conn.execute(f"SELECT count(*) {_WAITING} AND in_flight = 0", key).fetchone()[0]
    return min(max_resends, WAITING - waiting), waiting // 20


def take_back(conn: Session, part: Row) -> int:
    """Take back what waits of a part that was cancelled; what is in flight ends. Return how many there were, or 1."""
    key = (part["resend_id"], part["webhook_id"])
    count = conn.execute(_TAKE_BACK, key).rowcount
    if count:
        statement = "UPDATE resend_webhooks SET requested = requested - ? WHERE resend_id = ? AND webhook_id = ?"
        conn.execute(statement, (count, *key))
    action = "resend.cancelled" if part["replay_of"] is None else "replay.cancelled"
    _note(conn, action, part["project_id"], key[0], part["cancelled_by"], part["cancelled_at"], part["replay_of"])
    _end_unless_waiting(conn, key)
    return max(1, count)


def parts_of(conn: Session, resend_id: str) -> list[Row]:
    """Return the first unfinished parts of a resend."""
    parts = conn.execute(_PARTS, (resend_id, "", STEP_PARTS)).fetchall()
    return [row for row in parts if row["resend_id"] == resend_id]


def _end_unless_waiting(conn: Session, key: ResendPlace) -> None:
    if conn.execute(f"SELECT 1 {_WAITING} LIMIT 1", key).fetchone() is None:
        conn.execute("UPDATE resend_webhooks SET ended = 1 WHERE resend_id = ? AND webhook_id = ?", key)


def make_parts(conn: Session, resend_id: str) -> None:
    """Make the next parts of a resend, and note it in the trails of their projects."""
    row = conn.execute(
        "SELECT counts, parts, actor, created_at, replay_of FROM resends WHERE id = ?", (resend_id,)
    ).fetchone()
    counts = json.loads(row["counts"])
    parts = row["parts"] + STEP_PARTS
    chosen = counts[row["parts"] : parts]
    conn.executemany(
        "INSERT INTO resend_webhooks (resend_id, webhook_id, matched) VALUES (?, ?, ?)",
        [(resend_id, webhook, matched) for webhook, matched in chosen],
    )
    conn.execute(
        "UPDATE resends SET parts = parts + ?, counts = CASE WHEN ? THEN counts END WHERE id = ?",
        (len(chosen), parts < len(counts), resend_id),
    )
    ids = json.dumps([webhook for webhook, _ in chosen])
    action = "resend.started" if row["replay_of"] is None else "replay.started"
    for project in conn.execute(_PROJECTS, (ids,)).fetchall():
        _note(conn, action, project[0], resend_id, row["actor"], row["created_at"], row["replay_of"])


def _make_more_parts(conn: Session) -> None:
    row = conn.execute("SELECT id FROM resends INDEXED BY resends_to_part WHERE counts IS NOT NULL LIMIT 1").fetchone()
    if row is not None:
        make_parts(conn, row[0])


def _note(
    conn: Session,
    action: str,
    project_id: str,
    resend_id: str,
    actor: str,
    at: str,
    replay_of: str | None,
) -> None:
    """Note once in the trail of a project that a resend, or the replay of a webhook, was started or cancelled."""
    if not conn.execute(_NOTED, (at, project_id, action, resend_id)).fetchone()[0]:
        moment = clock.parse(at)
        audit.note(conn, action, actor=actor, now=moment, project_id=project_id, webhook_id=replay_of, detail=resend_id)


def _advance(conn: Session, part: Row, now: datetime, room: int) -> Reached:
    """Go on through one webhook's deliveries, and ask for attempts of `room` at most."""
    resend_id, webhook_id, reached, created_at = (
        part[name] for name in ("resend_id", "webhook_id", "reached", "created_at")
    )
    conditions = selecting.query(conn, Selection.load(json.loads(part["filters"])), tried=True)
    # What was made after the resend was asked for is not part of it.
    end = min(conditions.end, f"{selecting.id_at(clock.parse(created_at))}~")
    span = (webhook_id, max(reached, conditions.begin), end)
    seen = conn.execute(
        "SELECT count(*), max(id) FROM (SELECT d.id FROM deliveries d WHERE d.webhook_id = ? AND d.id > ? AND d.id < ? "
        f"{conditions.small_index} ORDER BY d.id LIMIT ?)",
        (*span, LOOKED_AT),
    ).fetchone()
    rows = conn.execute(
        "SELECT d.id FROM webhooks w CROSS JOIN deliveries d ON d.webhook_id = w.id "
        "WHERE w.id = ? AND d.id > ? AND d.id <= ? AND d.resend_requested_at IS NULL "
        f"{conditions.small_index} AND {conditions.where} ORDER BY d.id LIMIT ?",
        (*span[:2], seen[1] or "", *conditions.values, room),
    ).fetchall()
    conn.executemany(
        "UPDATE deliveries SET resend_requested_at = ?, resend_id = ? WHERE id = ?",
        [(clock.text(now), resend_id, row[0]) for row in rows],
    )
    full = len(rows) == room
    place = rows[-1][0] if full else seen[1] or span[1]
    return Reached(len(rows), int(seen[0]), place, is_done=not full and seen[0] < LOOKED_AT)


def prune(conn: Session, finished_before: datetime, limit: int = 100) -> tuple[int, bool]:
    """Delete what was finished before a time, at most `limit` resends and parts; return how many resends, and whether there are more."""
    old = conn.execute(
        "SELECT id FROM resends INDEXED BY resends_by_end WHERE finished_at IS NOT NULL AND finished_at < ? LIMIT ?",
        (clock.text(finished_before), limit),
    ).fetchall()
    ids = json.dumps([row[0] for row in old])
    if conn.execute(_OLD_PARTS, (ids, limit)).rowcount == limit:
        return 0, True
    conn.execute("DELETE FROM resends WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    return len(old), len(old) == limit
