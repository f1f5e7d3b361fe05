"""Bulk resends: each walks through the deliveries of its webhooks once, however often it is interrupted.

This module counts, begins, cancels and shows them; `resend_steps` advances them. A replay is one of them, which `replays` begins.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from ... import clock
from ...model import NotFound, Refused
from ...rules.selection import Selection
from ...rules.texts import Text
from ..engine import CountedPart, CountPlace
from ..records import Progress, Resend
from . import selecting
from .resend_steps import STEP_LOOKS, make_parts, parts_of, take_back
from .revisions import bump_revision
from .rows import row_as
from .session import Row, Session

COUNTED = 1_000_000  # deliveries that a count looks at
PART = 2_000  # deliveries that a part of a count looks at
PART_WEBHOOKS = 200
FEW = 10  # deliveries of a webhook up to which it is counted with others in one statement
TOGETHER = 50  # of them

_COUNT = """
SELECT webhook_id, count(*), count(*) FILTER (WHERE matches) FROM (
    SELECT d.webhook_id, {matches} AS matches FROM {place} AND d.id >= ? AND d.id < ? LIMIT ?)
GROUP BY webhook_id
"""
_COUNT_PART = """
SELECT count(*), count(*) FILTER (WHERE matches), max(id) FROM (
    SELECT d.id, {matches} AS matches FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id
    WHERE d.webhook_id = ? AND d.id > ? AND d.id >= ? AND d.id < ? {small_index} ORDER BY d.id LIMIT ?)
"""
# Of each webhook how many there are, but for `FEW` one more at most, and how many of them match, as one number.
_COUNT_FEW = f"""
SELECT v.value, (SELECT count(*) * {2 * FEW} + count(*) FILTER (WHERE matches) FROM (
    SELECT {{matches}} AS matches FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id
    WHERE d.webhook_id = v.value AND d.id >= ? AND d.id < ? {{small_index}} ORDER BY d.id LIMIT {FEW + 1}) few)
FROM json_each(?) v
"""
# SQLite leaves the join out where nothing is asked of the webhook.
_WITH_WEBHOOK = "LEFT JOIN webhooks w ON w.id = d.webhook_id"
_OF_ALL = f"deliveries d {_WITH_WEBHOOK} WHERE TRUE"
_OF_WEBHOOKS = f"json_each(?) v CROSS JOIN deliveries d ON d.webhook_id = v.value {_WITH_WEBHOOK} WHERE TRUE"
_OF_EVENT = f"events x CROSS JOIN deliveries d ON d.event_seq = x.seq {_WITH_WEBHOOK} WHERE x.id = ?"
# What was cancelled waits no more, but for what is in flight, though a step has to take it back.
_TOTALS = """
SELECT x.id, iif(x.replay_of IS NULL, 'resend', 'replay') AS kind, x.actor, x.project_id, x.filters, x.created_at, x.cancelled_at, x.finished_at, x.matched,
       (SELECT coalesce(sum(p.requested), 0) FROM resend_webhooks p WHERE p.resend_id = x.id)
       - CASE WHEN x.cancelled_at IS NULL THEN 0 ELSE (
            SELECT count(*) FROM deliveries d INDEXED BY deliveries_waiting_in_a_resend
            WHERE d.resend_id = x.id AND d.resend_requested_at IS NOT NULL AND d.in_flight = 0) END AS requested,
       (SELECT count(*) FROM deliveries d INDEXED BY deliveries_waiting_in_a_resend
        WHERE d.resend_id = x.id AND d.resend_requested_at IS NOT NULL
        AND (x.cancelled_at IS NULL OR d.in_flight = 1)) AS waiting,
       (SELECT count(*) FROM deliveries d WHERE d.resend_id = x.id AND d.state = 'succeeded'
        AND d.resend_requested_at IS NULL) AS succeeded,
       (SELECT count(*) FROM deliveries d WHERE d.resend_id = x.id AND d.state = 'failed'
        AND d.resend_requested_at IS NULL) AS given_up
"""
_PAGE = """
FROM (SELECT * FROM resends r WHERE (r.project_id = ?1 OR ?1 IS NULL) AND ((r.created_at, r.id)
      < (SELECT c.created_at, c.id FROM resends c WHERE c.id = ?2) OR ?2 IS NULL)
      ORDER BY r.created_at DESC, r.id DESC LIMIT ?3) x
"""


def count(conn: Session, selection: Selection) -> dict[str, int]:
    """Return how many deliveries would be resent, by webhook; those of disabled webhooks are left out.

    Raises `Refused` where more would have to be looked at than people wait for, or a text in their bodies is asked for.
    """
    selection.check_has_no_text()
    if selection.state == "held":
        return {}
    webhooks = dict.fromkeys(selecting.webhooks(conn, selection, enabled=True), 0)
    query = selecting.query(conn, selection, tried=True)
    if selection.event_id is not None:
        place, values = f"{_OF_EVENT} {query.small_index}", [selection.event_id]
    elif query.small_index or selection.webhook_id is not None or selection.project_id is not None:
        place, values = f"{_OF_WEBHOOKS} {query.small_index}", [json.dumps(list(webhooks))]
    else:
        place, values = _OF_ALL, []
    statement = _COUNT.format(matches=query.where, place=place)
    rows = conn.execute(statement, (*query.values, *values, query.begin, query.end, COUNTED + 1)).fetchall()
    if sum(row[1] for row in rows) > COUNTED:
        raise Refused(
            Text(
                "More than {counted:,} deliveries would have to be looked at; narrow it by time, webhook, state or status.",
                counted=COUNTED,
            )
        )
    webhooks |= {row[0]: int(row[2]) for row in rows if row[0] in webhooks}
    return {webhook: count for webhook, count in webhooks.items() if count}


def count_part(conn: Session, selection: Selection, place: CountPlace | None) -> CountedPart:
    """Count on from a place, webhook by webhook; looks at `PART` deliveries of `PART_WEBHOOKS` webhooks at most."""
    if selection.event_id is not None or selection.state == "held":
        return CountedPart(count(conn, selection), 0, None)
    selection.check_has_no_text()
    query = selecting.query(conn, selection, tried=True)
    place = place or CountPlace(tuple(selecting.webhooks(conn, selection, enabled=True)), "")
    statement = _COUNT_PART.format(matches=query.where, small_index=query.small_index)
    counts: dict[str, int] = {}
    few: dict[str, tuple[int, int]] = {}
    looked_at, reached = 0, place.reached
    for number, webhook in enumerate(place.webhooks[:PART_WEBHOOKS]):
        room = PART - looked_at
        if not reached and webhook not in few:
            few = _count_few(conn, query, place.webhooks[number : number + TOGETHER])
        seen, matches = few.get(webhook, (FEW + 1, 0))
        if reached or seen > min(FEW, room - 1):
            seen, matches, last = conn.execute(
                statement, (*query.values, webhook, reached, query.begin, query.end, room)
            ).fetchone()
        looked_at += seen
        if matches:
            counts[webhook] = int(matches)
        if seen == room:
            return CountedPart(counts, looked_at, CountPlace(place.webhooks[number:], last))
        reached = ""
    rest = place.webhooks[PART_WEBHOOKS:]
    return CountedPart(counts, looked_at, CountPlace(rest, "") if rest else None)


def _count_few(conn: Session, query: selecting.Query, webhooks: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return of each webhook how many deliveries it has, at most one more than `FEW`, and how many of these match."""
    statement = _COUNT_FEW.format(matches=query.where, small_index=query.small_index)
    rows = conn.execute(statement, (*query.values, query.begin, query.end, json.dumps(webhooks)))
    return {row[0]: divmod(row[1], 2 * FEW) for row in rows}


def start(conn: Session, selection: Selection, counts: Mapping[str, int], *, actor: str, now: datetime) -> str:
    """Begin to resend what matches, at the webhooks that `count` has found; return the id by which it is followed.

    Refused while one of the same selection is under way: a button that is pressed twice sends once.
    """
    selection.check_has_no_text()
    if not counts:
        raise Refused(Text("No delivery of an enabled webhook matches; there is nothing to resend."))
    same = conn.execute(
        "SELECT id FROM resends INDEXED BY resends_alike WHERE finished_at IS NULL AND filters = ?",
        (json.dumps(selection.dump()),),
    ).fetchone()
    if same is not None:
        raise Refused(Text("The resend {same} of just these is under way already.", same=same[0]))
    # They are in the order of their projects: with the same one at both ends there is no other.
    first, *_, last = [*counts, *counts]
    ends = {row[0] for row in conn.execute("SELECT project_id FROM webhooks WHERE id IN (?, ?)", (first, last))}
    project_id = ends.pop() if len(ends) == 1 else None
    return begin(conn, selection.dump(), counts, actor=actor, now=now, project_id=project_id)


def begin(
    conn: Session,
    filters: Mapping[str, str],
    counts: Mapping[str, int],
    *,
    actor: str,
    now: datetime,
    project_id: str | None,
    replay_of: str | None = None,
) -> str:
    """Begin a resend of many, or the replay of a webhook, with its entries in the audit trail; return its id."""
    new = f"rsd_{secrets.token_hex(10)}"
    conn.execute(
        "INSERT INTO resends (id, actor, project_id, filters, created_at, matched, counts, replay_of) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new,
            actor,
            project_id,
            json.dumps(filters),
            clock.text(now),
            sum(counts.values()),
            json.dumps(list(counts.items())),
            replay_of,
        ),
    )
    make_parts(conn, new)
    bump_revision(conn)
    return new


def cancel(conn: Session, resend_id: str, *, actor: str, now: datetime) -> None:
    """Resend nothing more of it; what is in flight ends. Refused once it is over.

    Nothing of it is claimed from the commit on; what many webhooks have waiting is taken back by the steps that follow.
    """
    row = conn.execute("SELECT finished_at FROM resends WHERE id = ?", (resend_id,)).fetchone()
    if row is None:
        raise NotFound(Text("There is no resend {resend_id}.", resend_id=resend_id), "id")
    if row[0] is not None:
        raise Refused(Text("{resend_id} is over since {row}.", resend_id=resend_id, row=row[0]))
    conn.execute(
        "UPDATE resends SET cancelled_at = ?1, finished_at = ?1, cancelled_by = ?2, counts = NULL WHERE id = ?3",
        (clock.text(now), actor, resend_id),
    )
    looks = STEP_LOOKS
    for part in parts_of(conn, resend_id):
        if looks > 0 and part["project_id"] is not None:
            looks -= take_back(conn, part)
    bump_revision(conn)


def get(conn: Session, resend_id: str) -> Resend:
    """Return one with its progress: `matched`, `requested`, `waiting`, `succeeded`."""
    row = conn.execute(f"{_TOTALS} FROM resends x WHERE x.id = ?", (resend_id,)).fetchone()
    if row is None:
        raise NotFound(Text("There is no resend {resend_id}.", resend_id=resend_id), "id")
    return _progress(row)


def find(conn: Session, *, project_id: str | None = None, before: str | None = None, limit: int = 50) -> list[Resend]:
    """Return the newest, of one project alone or of all; `before` is the id of one to go on after."""
    return [_progress(row) for row in conn.execute(f"{_TOTALS} {_PAGE}", (project_id, before, limit))]


def _progress(row: Row) -> Resend:
    over = Progress.CANCELLED if row["cancelled_at"] else Progress.FINISHED
    state = over if row["finished_at"] else Progress.RUNNING
    sent_again = max(0, row["requested"] - row["waiting"] - row["succeeded"])
    failed = row["given_up"] if row["kind"] == "replay" else sent_again
    return row_as(Resend, row, filters=json.loads(row["filters"]), failed=failed, state=state)
