"""Turns selections into SQL, for lists, counts and bulk resends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ...rules.event_types import family_of
from ...rules.selection import Selection
from ..records import Delivery
from . import held
from .rows import row_as
from .session import Session

LAST = "dlv_~"  # sorts behind every id
UNWELL = "AND d.last_status IS NOT NULL AND d.last_status NOT GLOB '2*'"
# What succeeded at once has no cause, and its attempt is not looked at.
_OF_CAUSE = """
CASE WHEN d.attempts = 1 AND d.last_status GLOB '2*' THEN FALSE
     ELSE EXISTS (SELECT 1 FROM attempts a WHERE a.delivery_id = d.id AND instr(lower(a.cause), lower(?)) > 0) END
"""
_GIVEN_UP = "AND d.state IN ('failed', 'cancelled')"
# What is looked up by its ids is put in order here: asked for in the order of an index, PostgreSQL would read the whole of it.
_MATCHING = """
SELECT d.id FROM json_each(?) v CROSS JOIN deliveries d ON d.id = v.value {webhooks}
WHERE d.webhook_id NOT IN (SELECT id FROM webhooks WHERE deleted_at IS NOT NULL) AND {where}
"""
_ITS_WEBHOOK = "CROSS JOIN webhooks w ON w.id = d.webhook_id"
_ROWS = """
SELECT delivery_log.*, made.created_at, made.test FROM json_each(?) v
CROSS JOIN deliveries made ON made.id = v.value CROSS JOIN delivery_log ON delivery_log.delivery_id = v.value
"""
_WEBHOOKS = """
SELECT id FROM webhooks
WHERE deleted_at IS NULL AND (id = ?1 OR ?1 IS NULL) AND (project_id = ?2 OR ?2 IS NULL) AND (enabled OR NOT ?3)
ORDER BY project_id, id
"""


class Query(NamedTuple):
    """What a selection asks of rows of `deliveries d` and their webhooks `w`.

    `where` with its `values` asks for state, status, test, type, event and cause; it is empty where nothing of these is asked, and
    names `w` only where what was discarded is still to be cancelled, or the state is `held`. Ids from `begin` on and before
    `end` are of the selection's time. `small_index` is the condition of the partial index that holds all that can match, or
    empty.
    """

    where: str
    values: tuple[object, ...]
    begin: str
    end: str
    small_index: str


def id_at(moment: datetime) -> str:
    """Return the first id that a delivery of this time can have: ids sort by time."""
    return f"dlv_{max(0, int(moment.timestamp() * 1000)):012x}"


def query(conn: Session, selection: Selection, *, tried: bool = False) -> Query:
    """Return the selection as SQL; `tried` is for those alone that a resend of many is for.

    These have ended or were attempted, and are no tests.
    """
    discarding = held.is_discarding(conn)
    state = held.STATE if discarding else "d.state"
    conditions: list[tuple[str, tuple[object, ...]]] = []
    if tried:
        conditions.append((f"d.test = 0 AND d.erased = 0 AND (d.attempts > 0 OR {state} <> 'pending')", ()))
    if selection.state == "held":
        conditions.append((held.IS_HELD, ()))
    elif selection.state is not None:
        conditions.append((f"{state} = ?", (selection.state,)))
    if selection.status is not None:
        conditions.append(_status(selection.status))
    if selection.test is not None:
        conditions.append((f"d.test = {int(selection.test)}", ()))
    if selection.event_id is not None:
        conditions.append(("d.event_id = ?", (selection.event_id,)))
    if selection.event_type is not None:
        of_type, values = type_is(selection.event_type)
        conditions.append((f"EXISTS (SELECT 1 FROM events e WHERE e.seq = d.event_seq AND {of_type})", values))
    if selection.cause is not None:
        conditions.append((_OF_CAUSE, (selection.cause,)))
    return Query(
        " AND ".join(condition for condition, _ in conditions),
        tuple(value for _, values in conditions for value in values),
        id_at(selection.since) if selection.since else "",
        id_at(selection.until) if selection.until else LAST,
        _small_index(selection, discarding=discarding, tried=tried),
    )


def type_is(text: str) -> tuple[str, tuple[object, ...]]:
    """Return the condition on `events e` that its type is this one, or of this family, with its values."""
    family = family_of(text)
    return ("substr(e.event_type, 1, ?) = ?", (len(family), family)) if family else ("e.event_type = ?", (text,))


def _status(status: str) -> tuple[str, tuple[object, ...]]:
    if len(status) == 3 and status.endswith("xx"):
        return "coalesce(substr(d.last_status, 1, 1) = ?, FALSE)", (status[0],)  # other words begin with a letter
    return "d.last_status IS ?", (status,)


def _small_index(selection: Selection, *, discarding: bool, tried: bool) -> str:
    if selection.state == "pending" and tried:  # what was tried and still waits is unwell
        return UNWELL
    if selection.status is not None and not selection.status.startswith("2"):
        return UNWELL
    if selection.state == "cancelled" and discarding:  # not all of it is in the index yet
        return ""
    return _GIVEN_UP if selection.state in ("failed", "cancelled") else ""


def webhooks(conn: Session, selection: Selection, *, enabled: bool = False) -> list[str]:
    """Return the ids of the webhooks whose deliveries can match, by project; only enabled ones if so asked."""
    return [row[0] for row in conn.execute(_WEBHOOKS, (selection.webhook_id, selection.project_id, enabled))]


def matching(conn: Session, selection: Selection, compiled: Query, ids: Sequence[str]) -> list[str]:
    """Return those of the ids that match but for the text in their bodies, newest first."""
    where, values = [compiled.where], [*compiled.values]
    for column, value in (("d.webhook_id", selection.webhook_id), ("w.project_id", selection.project_id)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    condition = " AND ".join(where)
    webhooks = _ITS_WEBHOOK if "w." in condition else ""
    rows = conn.execute(_MATCHING.format(webhooks=webhooks, where=condition), (json.dumps(ids), *values))
    return sorted((row[0] for row in rows), reverse=True)


def rows(conn: Session, ids: Sequence[str]) -> list[Delivery]:
    """Return these deliveries as `delivery_log` has them, newest first; what is not there is left out."""
    found = [row_as(Delivery, row) for row in conn.execute(_ROWS, (json.dumps(ids),))]
    return sorted(found, key=lambda row: row["delivery_id"], reverse=True)
