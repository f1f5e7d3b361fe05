"""The order of an ordered webhook: which of its deliveries is next, and what that one waits for.

Fan-out gives a delivery its place: its row in the table, so that what is made later comes behind, whatever a clock says. The
next one is the oldest that is pending. It waits while an attempt on schedule is under way, or a resend of an older one that is
pending. Resends and tests have a slot of their own, and wait for nothing but each other.
"""

from __future__ import annotations

from collections.abc import Callable

from ...model import Ahead
from .rows import row_as
from .session import Session

# Of the webhook `w`: one slot for attempts on schedule, one for resends and tests.
CONCURRENCY = "iif(w.ordered = 1, 2, w.concurrency)"


def first_waiting(webhook: str, generation: str) -> str:
    """Return SQL for the row of the oldest delivery that is pending and not in flight, of a webhook that SQL names."""
    return f"""(
    SELECT r.rowid FROM deliveries r INDEXED BY deliveries_in_order WHERE r.webhook_id = {webhook}
    AND r.generation = {generation} AND r.state = 'pending' AND r.in_flight = 0 AND r.next_attempt_at IS NOT NULL
    ORDER BY r.rowid LIMIT 1)"""


def must_wait(webhook: str, row: str) -> str:
    """Return SQL that tells whether an attempt is under way that the delivery in this row has to wait for."""
    return f"""EXISTS (
    SELECT 1 FROM deliveries f INDEXED BY deliveries_in_flight WHERE f.webhook_id = {webhook} AND f.in_flight = 1
    AND f.test = 0 AND (f.manual = 0 OR (f.state = 'pending' AND f.rowid < {row})))"""


def is_resending(webhook: str) -> str:
    """Return SQL that tells whether a resend or a test is under way."""
    return f"""EXISTS (
    SELECT 1 FROM deliveries f INDEXED BY deliveries_in_flight WHERE f.webhook_id = {webhook} AND f.in_flight = 1
    AND f.manual = 1)"""


# Of the webhook `w`: the time of the next one, NULL while it waits for an attempt under way; and whether nothing is ahead of
# a new one.
NEXT_AT = f"""(
    SELECT d.next_attempt_at FROM deliveries d WHERE d.rowid = {first_waiting("w.id", "w.generation")}
    AND NOT {must_wait("w.id", "d.rowid")})"""
IS_FREE = f"({first_waiting('w.id', 'w.generation')} IS NULL AND NOT {must_wait('w.id', str(2**63 - 1))})"

_FIELDS = "p.rowid AS place, p.id AS delivery_id, p.tries + 1 AS attempt, p.in_flight, p.next_attempt_at"
_AHEAD = f"""
SELECT {_FIELDS} FROM webhooks w CROSS JOIN deliveries p ON p.rowid = {first_waiting("w.id", "w.generation")}
WHERE w.id = ?1 AND w.ordered = 1 AND w.enabled = 1 AND w.deleted_at IS NULL AND p.rowid < ?2
UNION ALL
SELECT {_FIELDS} FROM webhooks w CROSS JOIN deliveries p INDEXED BY deliveries_in_flight
ON p.webhook_id = w.id AND p.in_flight = 1 AND p.test = 0
WHERE w.id = ?1 AND w.ordered = 1 AND w.enabled = 1 AND w.deleted_at IS NULL AND p.rowid <> ?2
AND (p.manual = 0 OR (p.state = 'pending' AND p.rowid < ?2))
ORDER BY place LIMIT 1
"""
_WAITING = """
SELECT d.webhook_id, d.rowid FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
WHERE d.id = ? AND d.state = 'pending' AND d.generation = w.generation AND d.test = 0 AND d.in_flight = 0
"""
_LAST = 2**63 - 1


def in_turn(take: Callable[[str], bool], free: dict[str, bool]) -> Callable[[str], bool]:
    """Return a `take` that gives an ordered webhook a slot for its first new delivery, if nothing is ahead of that."""
    if not free:
        return take

    def take_in_order(webhook: str) -> bool:
        is_first = free.get(webhook, True)
        if webhook in free:
            free[webhook] = False
        return is_first and take(webhook)

    return take_in_order


def ahead_of(conn: Session, delivery_id: str) -> Ahead | None:
    """Return the delivery that one has to wait for by the order of its webhook; None if it waits for none."""
    row = conn.execute(_WAITING, (delivery_id,)).fetchone()
    return _ahead(conn, *row) if row else None


def held_up_by(conn: Session, webhook_id: str) -> Ahead | None:
    """Return the delivery that all others of an ordered webhook wait for once it has failed; else None."""
    ahead = _ahead(conn, webhook_id, _LAST)
    return ahead if ahead is not None and ahead["attempt"] > 1 else None


def _ahead(conn: Session, webhook_id: str, place: int) -> Ahead | None:
    row = conn.execute(_AHEAD, (webhook_id, place)).fetchone()
    return row_as(Ahead, row) if row else None
