"""Deliveries: when they are due, resending, erasing. Call functions that write inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ... import clock
from ...model import OPERATOR, Ahead, Due, NotFound, Refused
from ...rules import erasing
from ...rules.texts import Text
from ..records import LastAttempt
from . import audit, held, hours, order, rendering
from .claiming import IS_FIRST
from .filtering import ERASE_OF_A_WEBHOOK
from .revisions import REVISION, bump_revision
from .rows import row_as
from .session import Session

_FIRST_DUE = f"""
SELECT json_group_array(json_array(
    w.id,
    CASE WHEN w.enabled AND w.ordered = 1 THEN {order.NEXT_AT}
         WHEN w.enabled THEN (SELECT min(d.next_attempt_at) FROM deliveries d
        WHERE d.webhook_id = w.id AND d.generation = w.generation AND d.state = 'pending' AND d.in_flight = 0) END,
    (w.ordered IS NULL OR NOT {order.is_resending("w.id")}) AND EXISTS (SELECT 1 FROM deliveries d WHERE d.webhook_id = w.id AND d.resend_requested_at IS NOT NULL
        AND d.in_flight = 0 AND (w.enabled OR d.test = 1) AND (d.state <> 'pending' OR d.generation = w.generation)
        AND (w.ordered IS NULL OR d.resend_id IS NULL OR NOT {IS_FIRST})
        AND NOT EXISTS (SELECT 1 FROM resends x WHERE x.id = d.resend_id AND x.cancelled_at IS NOT NULL)),
    w.project_id, {order.CONCURRENCY}, w.rate_limit,
    w.rate_limit IS NOT NULL AND (w.ordered IS NULL OR NOT {order.is_resending("w.id")}) AND EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_to_test
        WHERE d.webhook_id = w.id AND d.test = 1 AND d.resend_requested_at IS NOT NULL AND d.in_flight = 0
        AND (d.state <> 'pending' OR d.generation = w.generation))))
"""
_FIRST_DUE_OF = f"{_FIRST_DUE} FROM json_each(?) v CROSS JOIN webhooks w ON w.id = v.value WHERE w.deleted_at IS NULL"
# Of webhooks that had a result the ordered ones alone, as its end lets the next one go.
_FIRST_DUE_OF_BATCH = f"""{_FIRST_DUE} FROM json_each(?1) v CROSS JOIN webhooks w ON w.id = v.key
WHERE w.deleted_at IS NULL AND (CAST(v.value AS INTEGER) = 1 OR w.ordered = 1)"""
_IDS_AFTER = "SELECT id FROM webhooks WHERE id > ? ORDER BY id LIMIT ?"
MOST_ATTEMPTS = 10  # attempts erased in one step, per delivery on average; resends make any number of them
_ERASE_ATTEMPTS = """
DELETE FROM attempts WHERE rowid IN (
    SELECT a.rowid FROM json_each(?) v CROSS JOIN attempts a ON a.delivery_id = v.value LIMIT ?)
"""
_ERASE_THE_REST = (
    ERASE_OF_A_WEBHOOK,
    *hours.ERASE_OF_A_WEBHOOK,
    # Deliveries that have not ended are left to the step of their resend, which then can finish.
    "DELETE FROM resend_webhooks WHERE (resend_id, webhook_id) IN "
    "(SELECT resend_id, webhook_id FROM resend_webhooks WHERE webhook_id = ? AND ended = 1 LIMIT ?)",
)
NOW = ""  # sorts before every time: due at once


def first_due(conn: Session, webhook_ids: Iterable[str]) -> dict[str, Due]:
    """Return when each webhook has its next attempt; a webhook without one is left out.

    `NOW` stands for a waiting resend or test.
    """
    return _due(conn.read_rows(_FIRST_DUE_OF, json.dumps(list(webhook_ids))))


def first_due_after(conn: Session, webhook_id: str, limit: int) -> tuple[list[str], dict[str, Due]]:
    """Return the next `limit` webhooks after an id, and when each of them has its next attempt."""
    webhook_ids = sorted(row[0] for row in conn.execute(_IDS_AFTER, (webhook_id, limit)).fetchall())
    return webhook_ids, first_due(conn, webhook_ids)


def first_due_and_revision(conn: Session, touched: set[str], ended: Iterable[str] = ()) -> tuple[dict[str, Due], int]:
    """Return when each webhook has its next attempt, and the number of changes to webhooks, by one statement.

    Of the webhooks with attempts that `ended` the ordered ones are added to `touched`.
    """
    asked = json.dumps({**dict.fromkeys(ended, 0), **dict.fromkeys(touched, 1)})
    rows, [[revision]] = conn.read_together((_FIRST_DUE_OF_BATCH, REVISION), asked)
    touched.update(row[0] for row in rows)
    return _due(rows), int(revision)


def _due(rows: Iterable[Sequence[Any]]) -> dict[str, Due]:
    return {
        webhook: Due(NOW if asked else at, project, concurrency, rate_limit, bool(test))
        for webhook, at, asked, project, concurrency, rate_limit, test in rows
        if asked or at is not None
    }


def request_resend(conn: Session, delivery_id: str, now: datetime, *, actor: str = OPERATOR) -> bool:
    """Request one manual attempt, for when none is in flight; return False if one waits already."""
    row = conn.execute(
        "SELECT d.resend_requested_at, w.enabled, w.id, w.project_id, d.resend_id, d.erased FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id "
        "WHERE d.id = ? AND w.deleted_at IS NULL",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise NotFound(Text("There is no delivery {delivery_id}.", delivery_id=delivery_id), "id")
    if row[5]:
        raise Refused(erasing.gone(delivery_id))
    if not row[1]:
        raise Refused(Text("Webhook {row} is disabled; enable it first.", row=row[2]))
    held.settle(conn, delivery_id)
    if row[0] is not None and row[4] is None:
        return False
    conn.execute(
        "UPDATE deliveries SET resend_requested_at = ?, resend_id = NULL WHERE id = ?", (clock.text(now), delivery_id)
    )
    audit.note(
        conn,
        "delivery.resent",
        actor=actor,
        now=now,
        project_id=row[3],
        webhook_id=row[2],
        delivery_id=delivery_id,
    )
    bump_revision(conn)
    return True


def resend_done(conn: Session, delivery_id: str) -> LastAttempt | None:
    """Return the last finished attempt of a delivery, or None while a resend or test of it waits.

    Raises `Refused` if there is none, as the webhook's template made no body.
    """
    row = conn.execute(
        f"SELECT a.*, {rendering.FAILED_REASON} AS failed_reason FROM deliveries d "
        "LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number "
        "WHERE d.id = ? AND d.resend_requested_at IS NULL AND d.in_flight = 0",
        (delivery_id,),
    ).fetchone()
    if row is not None and row["failed_reason"] is not None:
        raise Refused(Text("No request was made: {failed_reason}.", failed_reason=row["failed_reason"]), "template")
    return row_as(LastAttempt, row) if row is not None and row["number"] is not None else None


def held_up_by(conn: Session, webhook_id: str) -> Ahead | None:
    """Return the delivery that has failed, and that all others of an ordered webhook wait for, if there is one."""
    return order.held_up_by(conn, webhook_id)


def erase(conn: Session, delivery_ids: Sequence[str]) -> bool:
    """Erase deliveries with their attempts; return False if there were too many attempts for one call."""
    ids = json.dumps(list(delivery_ids))
    max_attempts = MOST_ATTEMPTS * len(delivery_ids)
    if conn.execute(_ERASE_ATTEMPTS, (ids, max_attempts)).rowcount == max_attempts:
        return False
    rendering.erase(conn, ids)
    conn.execute("DELETE FROM deliveries WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    return True


def erase_deleted(conn: Session, limit: int) -> int:
    """Erase rows of deleted webhooks, at most `limit` deliveries, a webhook's row last; return the number of rows."""
    row = conn.execute("SELECT id FROM webhooks WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT 1").fetchone()
    if row is None:
        return 0
    rows = conn.execute("SELECT id FROM deliveries WHERE webhook_id = ? LIMIT ?", (row[0], limit)).fetchall()
    if rows:
        erase(conn, [delivery[0] for delivery in rows])
        return len(rows)
    for statement in _ERASE_THE_REST:
        gone = conn.execute(statement, (row[0], limit)).rowcount
        if gone == limit:
            return gone
    return conn.execute("DELETE FROM webhooks WHERE id = ?", (row[0],)).rowcount
