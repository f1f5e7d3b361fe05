"""Many resends at once: a piece of work that walks through each webhook's deliveries once, however often it is interrupted.

The filters are those of `log.conditions`. Tests, and deliveries that wait for their first attempt, are left out.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .. import clock
from ..model import Due, NotFound, Refused
from . import audit, log
from .bulk import AT_ONCE
from .deliveries import first_due
from .search import UNWELL, small_index
from .webhooks import changed

WAITING = 200  # deliveries of one webhook that wait at the same time: what a cancel takes back
LOOKED_AT = 1000  # deliveries of one webhook in one step
# Of all webhooks in one step, so that no other writer waits for long.
STEP_ASKS = 200
STEP_LOOKS = 2000
COUNTED = 1_000_000  # deliveries that a count looks at

_MATCHES = "d.test = 0 AND d.attempts + (d.state <> 'pending') > 0"
_COUNT = """
SELECT webhook_id, count(*), total(matches) FROM (
    SELECT d.webhook_id, {matches} AS matches FROM {place} AND d.id >= ? AND d.id < ? LIMIT ?)
GROUP BY webhook_id
"""
_OF_ALL = "deliveries d WHERE 1"
_OF_WEBHOOKS = "json_each(?) v CROSS JOIN deliveries d ON d.webhook_id = v.value WHERE 1"
_OF_EVENT = "events x CROSS JOIN deliveries d ON d.event_seq = x.seq WHERE x.id = ?"
_WEBHOOKS = """
SELECT id FROM webhooks WHERE enabled = 1 AND deleted_at IS NULL AND (?1 IS NULL OR id = ?1) AND (?2 IS NULL OR project_id = ?2)
"""
_ELSEWHERE = {
    "event_id": "d.event_id = ?",
    "event_type": "EXISTS (SELECT 1 FROM events e WHERE e.seq = d.event_seq AND e.event_type = ?)",
    "cause": "EXISTS (SELECT 1 FROM attempts a WHERE a.delivery_id = d.id AND instr(lower(a.cause), lower(?)) > 0)",
}
_TAKE_BACK = """
UPDATE deliveries NOT INDEXED SET resend_requested_at = NULL
WHERE rowid IN (SELECT rowid FROM deliveries INDEXED BY deliveries_of_a_resend
                WHERE resend_id = ?1 AND resend_requested_at IS NOT NULL AND in_flight = 0 LIMIT ?2)
RETURNING webhook_id
"""
_TOTALS = """
SELECT x.*, (SELECT coalesce(sum(p.matched), 0) FROM resend_webhooks p WHERE p.resend_id = x.id) AS matched,
       (SELECT coalesce(sum(p.requested), 0) FROM resend_webhooks p WHERE p.resend_id = x.id) AS requested,
       (SELECT count(*) FROM deliveries d WHERE d.resend_id = x.id AND d.resend_requested_at IS NOT NULL) AS waiting,
       (SELECT count(*) FROM deliveries d WHERE d.resend_id = x.id AND d.state = 'succeeded'
        AND d.resend_requested_at IS NULL) AS succeeded
"""
_PAGE = """
FROM (SELECT * FROM resends r WHERE (?1 IS NULL OR r.project_id = ?1) AND (?2 IS NULL OR
      (r.created_at, r.id) < (SELECT c.created_at, c.id FROM resends c WHERE c.id = ?2))
      ORDER BY r.created_at DESC, r.id DESC LIMIT ?3) x
"""
_PARTS = """
SELECT p.resend_id, p.webhook_id, p.reached, x.filters, x.created_at
FROM resends x JOIN resend_webhooks p ON p.resend_id = x.id
JOIN webhooks w ON w.id = p.webhook_id AND w.enabled = 1 AND w.deleted_at IS NULL
WHERE x.finished_at IS NULL AND x.cancelled_at IS NULL AND p.done = 0 ORDER BY random()
"""
_FINISHED = """
UPDATE resends SET finished_at = ?1 WHERE finished_at IS NULL
AND NOT EXISTS (SELECT 1 FROM resend_webhooks p JOIN webhooks w ON w.id = p.webhook_id AND w.deleted_at IS NULL
                WHERE p.resend_id = resends.id AND p.done = 0)
AND NOT EXISTS (SELECT 1 FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
                WHERE d.resend_id = resends.id AND d.resend_requested_at IS NOT NULL)
RETURNING id
"""


def count(conn: sqlite3.Connection, filters: Mapping[str, Any]) -> dict[str, int]:
    """Return how many deliveries would be resent, by webhook; those of disabled webhooks are left out.

    Raises `Refused` where more would have to be looked at than people wait for.
    """
    wanted = conn.execute(_WEBHOOKS, (filters.get("webhook_id"), filters.get("project_id"))).fetchall()
    webhooks = {row[0] for row in wanted}
    if filters.get("state") == "held":
        return {}
    small = _small_index(filters)
    if filters.get("event_id"):
        place, values = f"{_OF_EVENT} {small}", [filters["event_id"]]
    elif small or filters.get("webhook_id") or filters.get("project_id"):
        place, values = f"{_OF_WEBHOOKS} {small}", [json.dumps(sorted(webhooks))]
    else:
        place, values = _OF_ALL, []
    matches, more = _matching(filters)
    since, until = filters.get("since"), filters.get("until")
    span = log.id_at(since) if since else "", log.id_at(until) if until else "dlv_~"
    asked = _COUNT.format(matches=matches, place=place)
    rows = conn.execute(asked, (*more, *values, *span, COUNTED + 1)).fetchall()
    if sum(row[1] for row in rows) > COUNTED:
        raise Refused(
            f"More than {COUNTED:,} deliveries would have to be looked at; narrow it by time, webhook, state or status."
        )
    return {row[0]: int(row[2]) for row in rows if row[2] and row[0] in webhooks}


def _small_index(filters: Mapping[str, Any]) -> str:
    """Return the condition of the small index that holds all that can match; what is pending and was tried is unwell."""
    return UNWELL if filters.get("state") == "pending" else small_index(filters)


def _matching(filters: Mapping[str, Any]) -> tuple[str, list[object]]:
    """Return what is asked of a row of `deliveries d`, with its values; its webhook and time are seen to otherwise."""
    conditions, values = [_MATCHES], []
    state, status = filters.get("state"), filters.get("status")
    if state is not None:
        conditions.append("d.state = ?")
        values.append(state)
    if status is not None:
        is_class = len(status) == 3 and status.endswith("xx")
        conditions.append(f"coalesce(d.last_status {'GLOB' if is_class else '='} ?, 0)")
        values.append(f"{status[0]}[0-9][0-9]" if is_class else status)
    for name, condition in _ELSEWHERE.items():
        if filters.get(name) is not None:
            conditions.append(condition)
            values.append(filters[name])
    return " AND ".join(conditions), values


def start(
    conn: sqlite3.Connection, filters: Mapping[str, Any], counts: Mapping[str, int], *, actor: str, now: datetime
) -> str:
    """Begin to resend what matches, at the webhooks that `count` has found; return the id by which it is followed.

    Refused while one with the same filters is under way: a button that is pressed twice sends once.
    """
    if not counts:
        raise Refused("No delivery of an enabled webhook matches; there is nothing to resend.")
    new = f"rsd_{secrets.token_hex(10)}"
    written = {name: clock.text(one) if isinstance(one, datetime) else one for name, one in filters.items() if one}
    same = conn.execute(
        "SELECT id FROM resends WHERE finished_at IS NULL AND filters = ?", (json.dumps(written),)
    ).fetchone()
    if same is not None:
        raise Refused(f"The resend {same[0]} of just these is under way already.")
    marks = ", ".join("?" * len(counts))
    projects = [
        row[0] for row in conn.execute(f"SELECT DISTINCT project_id FROM webhooks WHERE id IN ({marks})", list(counts))
    ]
    conn.execute(
        "INSERT INTO resends (id, actor, project_id, filters, created_at) VALUES (?, ?, ?, ?, ?)",
        (new, actor, projects[0] if len(projects) == 1 else None, json.dumps(written), clock.text(now)),
    )
    conn.executemany(
        "INSERT INTO resend_webhooks (resend_id, webhook_id, matched) VALUES (?, ?, ?)",
        [(new, webhook, matched) for webhook, matched in counts.items()],
    )
    for project in projects:
        audit.note(conn, "resend.started", actor=actor, now=now, project_id=project, detail=new)
    changed(conn)
    return new


def cancel(conn: sqlite3.Connection, resend_id: str, *, actor: str, now: datetime) -> None:
    """Resend nothing more of it; what is in flight ends. Refused once it is over."""
    found = get(conn, resend_id)
    if found["finished_at"] is not None:
        raise Refused(f"{resend_id} is over since {found['finished_at']}.")
    taken_back: Counter[str] = Counter()
    while rows := conn.execute(_TAKE_BACK, (resend_id, AT_ONCE)).fetchall():
        taken_back.update(row[0] for row in rows)
    conn.executemany(
        "UPDATE resend_webhooks SET requested = requested - ? WHERE resend_id = ? AND webhook_id = ?",
        [(count, resend_id, webhook) for webhook, count in taken_back.items()],
    )
    written = clock.text(now)
    conn.execute("UPDATE resends SET cancelled_at = ?, finished_at = ? WHERE id = ?", (written, written, resend_id))
    projects = conn.execute(
        "SELECT DISTINCT w.project_id FROM resend_webhooks p JOIN webhooks w ON w.id = p.webhook_id WHERE p.resend_id = ?",
        (resend_id,),
    ).fetchall()
    for row in projects:
        audit.note(conn, "resend.cancelled", actor=actor, now=now, project_id=row[0], detail=resend_id)
    changed(conn)


def get(conn: sqlite3.Connection, resend_id: str) -> dict[str, Any]:
    """Return one with its progress: `matched`, `requested`, `waiting`, `succeeded`."""
    row = conn.execute(f"{_TOTALS} FROM resends x WHERE x.id = ?", (resend_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no resend {resend_id}.", "id")
    return _progress(row)


def find(
    conn: sqlite3.Connection, *, project_id: str | None = None, before: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Return the newest, of one project alone or of all; `before` is the id of one to go on after."""
    return [_progress(row) for row in conn.execute(f"{_TOTALS} {_PAGE}", (project_id, before, limit))]


def _progress(row: sqlite3.Row) -> dict[str, Any]:
    found = dict(row)
    found["filters"] = json.loads(found["filters"])
    over = "cancelled" if found["cancelled_at"] else "finished"
    return {**found, "state": over if found["finished_at"] else "running"}


def under_way(conn: sqlite3.Connection) -> bool:
    """Tell whether any is under way."""
    return bool(conn.execute("SELECT EXISTS (SELECT 1 FROM resends WHERE finished_at IS NULL)").fetchone()[0])


def step(conn: sqlite3.Connection, now: datetime) -> tuple[set[str], dict[str, Due], list[str]]:
    """Ask for the next few attempts at webhooks that have room for them, in no order so that each comes to its turn.

    Return the webhooks, when each has its next attempt, and what is finished.
    """
    touched: set[str] = set()
    asks, looks = STEP_ASKS, STEP_LOOKS
    for row in conn.execute(_PARTS).fetchall():
        asked, looked_at = _advance(conn, row, now, asks)
        asks, looks = asks - asked, looks - looked_at
        if asked:
            touched.add(row["webhook_id"])
        if asks <= 0 or looks <= 0:
            break
    finished = [row[0] for row in conn.execute(_FINISHED, (clock.text(now),)).fetchall()]
    return touched, first_due(conn, touched), finished


def _advance(conn: sqlite3.Connection, part: sqlite3.Row, now: datetime, most: int) -> tuple[int, int]:
    """Go on through one webhook's deliveries; return how many attempts were asked for, `most` at most, and rows looked at."""
    resend_id, webhook_id, reached, filters, created_at = part
    waiting = conn.execute(
        "SELECT count(*) FROM deliveries WHERE webhook_id = ? AND resend_id = ? AND resend_requested_at IS NOT NULL "
        "AND in_flight = 0",
        (webhook_id, resend_id),
    ).fetchone()[0]
    room = min(most, WAITING - waiting)
    if room <= 0:
        return 0, waiting // 20  # what it costs to find out, about
    asked = _times(json.loads(filters))
    # Ids sort by time: what was made after the resend was asked for is not part of it.
    end = f"dlv_{int(clock.parse(created_at).timestamp() * 1000) + 1:012x}"
    if "until" in asked:
        end = min(end, log.id_at(asked["until"]))
    if "since" in asked:
        reached = max(reached, log.id_at(asked["since"]))
    seen = conn.execute(
        "SELECT count(*), max(id) FROM (SELECT d.id FROM deliveries d WHERE d.webhook_id = ? AND d.id > ? AND d.id < ? "
        f"{_small_index(asked)} ORDER BY d.id LIMIT ?)",
        (webhook_id, reached, end, LOOKED_AT),
    ).fetchone()
    matches, values = _matching(asked)
    found = conn.execute(
        "SELECT d.id FROM deliveries d WHERE d.webhook_id = ? AND d.id > ? AND d.id <= ? AND d.resend_requested_at IS NULL "
        f"{_small_index(asked)} AND {matches} ORDER BY d.id LIMIT ?",
        (webhook_id, reached, seen[1] or "", *values, room),
    ).fetchall()
    conn.executemany(
        "UPDATE deliveries SET resend_requested_at = ?, resend_id = ? WHERE id = ?",
        [(clock.text(now), resend_id, row[0]) for row in found],
    )
    full = len(found) == room
    conn.execute(
        "UPDATE resend_webhooks SET requested = requested + ?, reached = ?, done = ? WHERE resend_id = ? AND webhook_id = ?",
        (
            len(found),
            found[-1][0] if full else seen[1] or reached,
            int(not full and seen[0] < LOOKED_AT),
            resend_id,
            webhook_id,
        ),
    )
    return len(found), int(seen[0])


def _times(filters: dict[str, Any]) -> dict[str, Any]:
    return {name: clock.parse(one) if name in ("since", "until") else one for name, one in filters.items()}


def prune(conn: sqlite3.Connection, finished_before: datetime, limit: int = 100) -> int:
    """Delete what was finished before a time, at most `limit`; return how many."""
    old = conn.execute(
        "SELECT id FROM resends WHERE finished_at < ? LIMIT ?", (clock.text(finished_before), limit)
    ).fetchall()
    conn.executemany("DELETE FROM resend_webhooks WHERE resend_id = ?", [tuple(row) for row in old])
    conn.executemany("DELETE FROM resends WHERE id = ?", [tuple(row) for row in old])
    return len(old)
