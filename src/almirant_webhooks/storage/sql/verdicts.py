"""Verdicts: for each webhook of an event's project, a sentence on what became of the event."""

from __future__ import annotations

from collections.abc import Iterable

from ...rules.conditions import recognised as recognised_condition
from ...rules.stored_texts import recognised
from ...rules.texts import Text
from ..records import EventOutcome
from . import held
from .rendering import FAILED_REASON
from .rows import row_as
from .session import Row, Session

_WITHOUT = {
    "unmatched": Text("The project has no webhook, so there was nobody to send it to."),
    "webhook created later": Text(
        "The webhook was created after the event was taken; events go to those that exist then."
    ),
    "a test of another webhook": Text("It is the sample event of another webhook's test."),
}

_DELIVERIES = f"""
SELECT d.id, {held.STATE} AS state, d.attempts, d.next_attempt_at, {held.REASON} AS cancelled_reason, d.resend_requested_at, d.resend_id, d.in_flight,
       {FAILED_REASON} AS failed_reason, coalesce(d.last_status, 'nothing yet') AS last_status, a.started_at, a.cause, w.enabled,
       w.disabled_at, w.disabled_reason
FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number
WHERE d.event_seq = ? AND d.webhook_id > ? AND d.webhook_id <= ?
"""


def add(conn: Session, event_seq: int, after: str, last: str, outcomes: Iterable[Row]) -> list[EventOutcome]:
    """Return the outcomes of an event at the webhooks after `after` up to `last`, each with its `verdict`."""
    known = {row["id"]: row for row in conn.execute(_DELIVERIES, (event_seq, after, last))}
    return [row_as(EventOutcome, row, verdict=_verdict(row, known.get(row["delivery_id"]))) for row in outcomes]


def _verdict(outcome: Row, delivery: Row | None) -> str:
    if delivery is None:
        if outcome["condition"] is not None:
            return Text(
                "It was filtered out: {condition} did not hold.", condition=recognised_condition(outcome["condition"])
            )
        return _WITHOUT.get(outcome["outcome"], Text("The webhook does not subscribe to this type."))
    if delivery["state"] == "succeeded":
        return Text("It arrived; {attempt}.", attempt=_last(delivery))
    if delivery["failed_reason"]:
        return Text(
            "No request was made: {reason}. Resend it when the webhook's template is mended.",
            reason=recognised(delivery["failed_reason"]),
        )
    if delivery["state"] == "failed":
        return Text("It was given up; {attempt}. Resend it when the receiver is well.", attempt=_last(delivery))
    if delivery["state"] == "cancelled":
        return Text("It was cancelled: {reason}.", reason=recognised(delivery["cancelled_reason"]))
    if not delivery["enabled"]:
        return _of_a_disabled_one(delivery)
    if delivery["in_flight"]:
        return Text("A request is under way.")
    return _of_one_that_waits(delivery)


def _last(delivery: Row) -> Text:
    parts = {"number": delivery["attempts"], "at": delivery["started_at"], "status": Text(delivery["last_status"])}
    if delivery["cause"]:
        return Text("attempt {number} at {at}: {status} ({cause})", **parts, cause=recognised(delivery["cause"]))
    return Text("attempt {number} at {at}: {status}", **parts)


def _of_a_disabled_one(delivery: Row) -> Text:
    at = delivery["disabled_at"]
    if delivery["disabled_reason"] is None:
        return Text("It is held, since the webhook is disabled since {at}; it goes out when it is enabled.", at=at)
    return Text(
        "It is held, since the webhook is disabled since {at} by the service ({reason}); it goes out when it is enabled.",
        at=at,
        reason=recognised(delivery["disabled_reason"]),
    )


def _of_one_that_waits(delivery: Row) -> Text:
    begin = Text("It was not attempted yet.")
    if delivery["attempts"]:
        begin = Text("It has not arrived yet; {attempt}.", attempt=_last(delivery))
    if delivery["resend_requested_at"] and not delivery["attempts"] and delivery["resend_id"]:
        return Text("{begin} It is part of a replay, which gives way to what is due.", begin=begin)
    if delivery["resend_requested_at"]:
        return Text("{begin} A resend waits.", begin=begin)
    return Text("{begin} The next attempt is due at {at}.", begin=begin, at=delivery["next_attempt_at"])
