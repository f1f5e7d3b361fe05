"""Many resends at once: a piece of work that walks through each webhook's deliveries once, however often it is interrupted.

The filters are those of `log.deliveries`. Tests, and deliveries that wait for their first attempt, are left out.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .. import clock
from ..model import NotFound, Refused
from . import audit, log
from .deliveries import first_due
from .search import small_index
from .webhooks import changed

WAITING = 200  # deliveries of one webhook that wait at the same time: what a cancel takes back
LOOKED_AT = 1000  # deliveries in one step

_MATCHING = """
FROM delivery_log JOIN deliveries d ON d.id = delivery_log.delivery_id
WHERE d.test = 0 AND d.attempts + (d.state <> 'pending') > 0
"""
_TOTALS = """
SELECT x.*, coalesce(sum(p.matched), 0) AS matched, coalesce(sum(p.requested), 0) AS requested,
       (SELECT count(*) FROM deliveries d WHERE d.resend_id = x.id AND d.resend_requested_at IS NOT NULL) AS waiting,
       (SELECT count(*) FROM deliveries d WHERE d.resend_id = x.id AND d.state = 'succeeded'
        AND d.resend_requested_at IS NULL) AS succeeded
FROM resends x LEFT JOIN resend_webhooks p ON p.resend_id = x.id
"""
_PARTS = """
SELECT p.resend_id, p.webhook_id, p.reached, x.filters, x.created_at
FROM resends x JOIN resend_webhooks p ON p.resend_id = x.id
JOIN webhooks w ON w.id = p.webhook_id AND w.enabled = 1 AND w.deleted_at IS NULL
WHERE x.finished_at IS NULL AND x.cancelled_at IS NULL AND p.done = 0
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
    """Return how many deliveries would be resent, by webhook; those of disabled webhooks are left out."""
    conditions, values = log.conditions(**filters)
    rows = conn.execute(
        f"SELECT d.webhook_id, count(*) {_MATCHING} {small_index(filters)} AND d.webhook_id IN (SELECT id FROM webhooks WHERE enabled = 1) "
        f"{''.join(f' AND {one}' for one in conditions)} GROUP BY d.webhook_id",
        values,
    )
    return {row[0]: row[1] for row in rows}


def start(
    conn: sqlite3.Connection, filters: Mapping[str, Any], counts: Mapping[str, int], *, actor: str, now: datetime
) -> str:
    """Begin to resend what matches, at the webhooks that `count` has found; return the id by which it is followed."""
    if not counts:
        raise Refused("No delivery of an enabled webhook matches; there is nothing to resend.")
    new = f"rsd_{secrets.token_hex(10)}"
    written = {name: clock.text(one) if isinstance(one, datetime) else one for name, one in filters.items() if one}
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
    conn.execute(
        "UPDATE deliveries SET resend_requested_at = NULL WHERE resend_id = ? AND resend_requested_at IS NOT NULL "
        "AND in_flight = 0",
        (resend_id,),
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
    row = conn.execute(f"{_TOTALS} WHERE x.id = ? GROUP BY x.id", (resend_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no resend {resend_id}.", "id")
    return _progress(row)


def find(conn: sqlite3.Connection, *, project_id: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Return the newest, of one project alone or of all."""
    rows = conn.execute(
        f"{_TOTALS} WHERE ?1 IS NULL OR x.project_id = ?1 GROUP BY x.id ORDER BY x.created_at DESC LIMIT ?2",
        (project_id, limit),
    )
    return [_progress(row) for row in rows]


def _progress(row: sqlite3.Row) -> dict[str, Any]:
    found = dict(row)
    found["filters"] = json.loads(found["filters"])
    over = "cancelled" if found["cancelled_at"] else "finished"
    return {**found, "state": over if found["finished_at"] else "running"}


def under_way(conn: sqlite3.Connection) -> bool:
    """Tell whether any is under way."""
    return bool(conn.execute("SELECT EXISTS (SELECT 1 FROM resends WHERE finished_at IS NULL)").fetchone()[0])


def step(conn: sqlite3.Connection, now: datetime) -> tuple[set[str], dict[str, str], list[str]]:
    """Ask for the next few attempts at every webhook that has room for them.

    Return the webhooks, when each has its next attempt, and what is finished.
    """
    touched = {row["webhook_id"] for row in conn.execute(_PARTS).fetchall() if _advance(conn, row, now)}
    finished = [row[0] for row in conn.execute(_FINISHED, (clock.text(now),)).fetchall()]
    return touched, first_due(conn, touched), finished


def _advance(conn: sqlite3.Connection, part: sqlite3.Row, now: datetime) -> int:
    """Go on through one webhook's deliveries; return how many attempts were asked for."""
    resend_id, webhook_id, reached, filters, created_at = part
    waiting = conn.execute(
        "SELECT count(*) FROM deliveries WHERE webhook_id = ? AND resend_id = ? AND resend_requested_at IS NOT NULL "
        "AND in_flight = 0",
        (webhook_id, resend_id),
    ).fetchone()[0]
    room = WAITING - waiting
    if room <= 0:
        return 0
    # Ids sort by time: what was made after the resend was asked for is not part of it.
    end = f"dlv_{int(clock.parse(created_at).timestamp() * 1000) + 1:012x}"
    seen = conn.execute(
        "SELECT count(*), max(id) FROM (SELECT id FROM deliveries WHERE webhook_id = ? AND id > ? AND id < ? "
        "ORDER BY id LIMIT ?)",
        (webhook_id, reached, end, LOOKED_AT),
    ).fetchone()
    conditions, values = log.conditions(**{**_times(json.loads(filters)), "webhook_id": webhook_id})
    found = conn.execute(
        f"SELECT d.id {_MATCHING} AND d.webhook_id = ? AND d.id > ? AND d.id <= ? AND d.resend_requested_at IS NULL "
        f"{''.join(f' AND {one}' for one in conditions)} ORDER BY d.id LIMIT ?",
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
    return len(found)


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
