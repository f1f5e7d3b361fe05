"""Verdicts: for each webhook of an event's project, a sentence on what became of the event."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from ..records import EventOutcome
from . import held
from .rendering import FAILED_REASON
from .rows import row_as

_DELIVERIES = f"""
SELECT d.id, {held.STATE} AS state, d.attempts, d.next_attempt_at, {held.REASON} AS cancelled_reason, d.resend_requested_at, d.resend_id, d.in_flight,
       {FAILED_REASON} AS failed_reason, coalesce(d.last_status, 'nothing yet') AS last_status, a.started_at, a.cause, w.enabled,
       w.disabled_at, w.disabled_reason
FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number
WHERE d.event_seq = ? AND d.webhook_id > ? AND d.webhook_id <= ?
"""


def add(
    conn: sqlite3.Connection, event_seq: int, after: str, last: str, outcomes: Iterable[sqlite3.Row]
) -> list[EventOutcome]:
    """Return the outcomes of an event at the webhooks after `after` up to `last`, each with its `verdict`."""
    known = {row["id"]: row for row in conn.execute(_DELIVERIES, (event_seq, after, last))}
    return [row_as(EventOutcome, row, verdict=_verdict(row, known.get(row["delivery_id"]))) for row in outcomes]


def _verdict(outcome: sqlite3.Row, delivery: sqlite3.Row | None) -> str:
    if delivery is None:
        if outcome["condition"] is not None:
            return f"It was filtered out: {outcome['condition']} did not hold."
        return {
            "unmatched": "The project has no webhook, so there was nobody to send it to.",
            "webhook created later": "The webhook was created after the event was taken; events go to those that exist then.",
            "a test of another webhook": "It is the sample event of another webhook's test.",
        }.get(outcome["outcome"], "The webhook does not subscribe to this type.")
    last = f"attempt {delivery['attempts']} at {delivery['started_at']}: {delivery['last_status']}"
    if delivery["cause"]:
        last += f" ({delivery['cause']})"
    if delivery["state"] == "succeeded":
        return f"It arrived; {last}."
    if delivery["failed_reason"]:
        return f"No request was made: {delivery['failed_reason']}. Resend it when the webhook's template is mended."
    if delivery["state"] == "failed":
        return f"It was given up; {last}. Resend it when the receiver is well."
    if delivery["state"] == "cancelled":
        return f"It was cancelled: {delivery['cancelled_reason']}."
    if not delivery["enabled"]:
        by = "" if delivery["disabled_reason"] is None else f" by the service ({delivery['disabled_reason']})"
        since = f"disabled since {delivery['disabled_at']}{by}"
        return f"It is held, since the webhook is {since}; it goes out when it is enabled."
    if delivery["in_flight"]:
        return "A request is under way."
    begin = f"It has not arrived yet; {last}." if delivery["attempts"] else "It was not attempted yet."
    if delivery["resend_requested_at"] and not delivery["attempts"] and delivery["resend_id"]:
        return f"{begin} It is part of a replay, which gives way to what is due."
    if delivery["resend_requested_at"]:
        return f"{begin} A resend waits."
    return f"{begin} The next attempt is due at {delivery['next_attempt_at']}."
