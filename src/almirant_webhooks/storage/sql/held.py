"""Held deliveries of disabled webhooks: counting, discarding when a webhook is enabled, cancelling after too long a time.

Discarded deliveries are cancelled in small steps. Enabling gives the webhook its next generation: from the commit on, a
pending delivery of an earlier generation counts as cancelled. It is never claimed, and is shown as cancelled.
Call functions that write inside a transaction.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from ... import clock
from .session import Session

DISCARDED = "discarded when the webhook was enabled"
# Conditions on `deliveries d` and its webhook `w`.
IS_DISCARDED = "(d.state = 'pending' AND d.generation < w.generation)"
IS_HELD = "(d.state = 'pending' AND w.enabled = 0 AND d.generation = w.generation)"
STATE = f"CASE WHEN {IS_DISCARDED} THEN 'cancelled' ELSE d.state END"
REASON = f"CASE WHEN {IS_DISCARDED} THEN '{DISCARDED}' ELSE d.cancelled_reason END"

_COUNT = """
SELECT (SELECT count(*) FROM deliveries d INDEXED BY deliveries_due_of_a_webhook WHERE d.webhook_id = w.id
        AND d.generation = w.generation AND d.state = 'pending' AND d.in_flight = 0)
     + (SELECT count(*) FROM deliveries d INDEXED BY deliveries_in_flight WHERE d.in_flight = 1 AND d.state = 'pending'
        AND d.webhook_id = w.id)
FROM webhooks w WHERE w.id = ? AND w.enabled = 0 AND w.deleted_at IS NULL
"""
_CANCEL = """
UPDATE deliveries {by} SET state = 'cancelled', next_attempt_at = NULL, resend_requested_at = NULL,
    cancelled_reason = '{reason}' WHERE {which}
"""
_DISCARD_IN_FLIGHT = _CANCEL.format(
    by="INDEXED BY deliveries_in_flight",
    reason=DISCARDED,
    which="in_flight = 1 AND webhook_id = ? AND state = 'pending'",
)
_DISCARD = _CANCEL.format(
    by="NOT INDEXED",
    reason=DISCARDED,
    which="""rowid IN (
    SELECT d.rowid FROM webhooks w CROSS JOIN deliveries d INDEXED BY deliveries_due_of_a_webhook
    ON d.webhook_id = w.id AND d.generation < w.generation AND d.state = 'pending' AND d.in_flight = 0
    WHERE w.id = ? LIMIT ?)""",
)
_DISCARD_BEFORE_RESEND = f"""
UPDATE deliveries AS d SET state = 'cancelled', next_attempt_at = NULL, cancelled_reason = '{DISCARDED}'
FROM webhooks w WHERE d.id = ? AND w.id = d.webhook_id AND {IS_DISCARDED}
"""
_DISABLED = """
SELECT count(*), max(id) FROM (
    SELECT id FROM webhooks INDEXED BY webhooks_disabled WHERE enabled = 0 AND deleted_at IS NULL AND id > ?
    ORDER BY id LIMIT ?)
"""
# Counted from the due time, which is corrected if the clock was ahead when the delivery was made.
_CANCEL_HELD = _CANCEL.format(
    by="NOT INDEXED",
    reason="its webhook was disabled for longer than deliveries are held",
    which="""rowid IN (
    SELECT d.rowid FROM webhooks w INDEXED BY webhooks_disabled CROSS JOIN deliveries d
    INDEXED BY deliveries_due_of_a_webhook ON d.webhook_id = w.id AND d.generation = w.generation AND d.state = 'pending'
    AND d.in_flight = 0 AND d.next_attempt_at <= ?1
    WHERE w.enabled = 0 AND w.deleted_at IS NULL AND w.id > ?2 AND w.id <= ?3 AND w.disabled_at <= ?1 LIMIT ?4)""",
)


def count(conn: Session, webhook_id: str) -> int:
    """Return how many deliveries of a disabled webhook are held; 0 for any other."""
    row = conn.execute(_COUNT, (webhook_id,)).fetchone()
    return int(row[0]) if row else 0


def begin_discarding(conn: Session, webhook_id: str, now: datetime) -> None:
    """Discard the pending deliveries of a webhook: from the commit on none of them is sent."""
    conn.execute(
        "UPDATE webhooks SET generation = generation + 1, discarding_since = ? WHERE id = ?",
        (clock.text(now), webhook_id),
    )
    conn.execute(_DISCARD_IN_FLIGHT, (webhook_id,))  # as many as `delivery.concurrency` at most


def discard(conn: Session, limit: int) -> int:
    """Cancel discarded deliveries, at most `limit`; return their number."""
    row = conn.execute(
        "SELECT id FROM webhooks INDEXED BY webhooks_discarding WHERE discarding_since IS NOT NULL AND deleted_at IS NULL "
        "LIMIT 1"
    ).fetchone()
    if row is None:
        return 0
    changed_rows = conn.execute(_DISCARD, (row[0], limit)).rowcount
    if changed_rows < limit:
        conn.execute("UPDATE webhooks SET discarding_since = NULL WHERE id = ?", (row[0],))
    return max(1, changed_rows)


def is_discarding(conn: Session) -> bool:
    """Return whether discarded deliveries are still to be cancelled."""
    query = "SELECT EXISTS (SELECT 1 FROM webhooks INDEXED BY webhooks_discarding WHERE discarding_since IS NOT NULL AND deleted_at IS NULL)"
    return bool(conn.execute(query).fetchone()[0])


def settle(conn: Session, delivery_id: str) -> None:
    """Cancel a delivery now if it was discarded, so that it can be resent."""
    conn.execute(_DISCARD_BEFORE_RESEND, (delivery_id,))


class TooLong:
    """A walk through the disabled webhooks that cancels deliveries held since before a time; `removed` counts them."""

    def __init__(self, since: datetime) -> None:
        self.removed: Counter[str] = Counter()
        self._since = clock.text(since)
        self._after = ""

    def step(self, conn: Session, limit: int) -> bool:
        """Look at up to `limit` webhooks and cancel up to `limit` deliveries; return whether there is another step."""
        seen, last = conn.execute(_DISABLED, (self._after, limit)).fetchone()
        if not seen:
            return False
        changed_rows = conn.execute(_CANCEL_HELD, (self._since, self._after, last, limit)).rowcount
        self.removed["held"] += changed_rows
        if changed_rows == limit:
            return True
        self._after = last
        return bool(seen == limit)
