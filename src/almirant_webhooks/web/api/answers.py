"""What the API answers, but for webhooks themselves; `/openapi.json` describes these types themselves."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from ...actions import previews, tokens
from ...model import Rotation
from ...rules.principals import Role
from ...storage import records
from ...storage.engine import ProjectToken

Preview = previews.Preview
NewProjectToken = tokens.NewProjectToken


class Delivery(records.DeliveryFields):
    """A delivery in a list."""

    id: str
    held: bool


class DeliveryDetails(Delivery, records.Details):
    """A delivery with its body; `attempt_list` has its newest 50 attempts, oldest first, and `attempts` counts all that have ended."""


class Count(TypedDict):
    """How many match; where `complete` is false there are more."""

    value: int
    complete: bool


class DeliveryPage(TypedDict):
    """Deliveries, newest first; `count` is there where it was asked for."""

    items: list[Delivery]
    next_cursor: str | None
    looked_back_to: str | None
    count: NotRequired[Count]


class Asked(TypedDict):
    """A resend of one delivery; `asked` is false where one waited already."""

    delivery_id: str
    asked: bool


class ResendCount(TypedDict):
    """How many deliveries would be sent again, in all and by webhook; `more` if the count has ended before all were seen."""

    deliveries: int
    by_webhook: dict[str, int]
    more: bool


class ResendPage(TypedDict):
    """Resends of many, newest first."""

    items: list[records.Resend]
    next_cursor: str | None


class Event(records.EventFields):
    """An event in a list."""

    id: str


class EventDetails(Event, records.EventOutcomes):
    """An event with its body and what became of it; `kept_until` is until when it is kept at least, with its content."""

    kept_until: str


class EventPage(TypedDict):
    """Events, newest first."""

    items: list[Event]
    next_cursor: str | None
    looked_back_to: str | None


class SentEvent(TypedDict):
    """An event that was taken."""

    event_id: str


class SentTo(TypedDict):
    """The delivery of an event that was sent to one webhook."""

    delivery_id: str


class EventType(TypedDict):
    """A type of the catalogue: when it is sent, a sample of its `data`, and a JSON Schema of a request's whole body."""

    event_type: str
    description: str
    sample: dict[str, Any]
    schema: dict[str, Any]


class EventTypePage(TypedDict):
    """Every type that webhooks can subscribe to."""

    items: list[EventType]
    next_cursor: None


class DaemonPage(TypedDict):
    """The daemons that share the projects."""

    items: list[records.Daemon]
    next_cursor: None


class AuditPage(TypedDict):
    """Who did what, newest first."""

    items: list[records.AuditEntry]
    next_cursor: str | None


class Test(TypedDict):
    """The delivery of a sample event."""

    delivery_id: str


class CancelledRotation(TypedDict):
    """A change of secret that was taken back."""

    webhook_id: str
    cancelled: bool


class RevealedSecret(TypedDict):
    """A webhook's secret, the one that takes its place where a change waits, and its headers with their values."""

    webhook_id: str
    secret: str
    next_secret: str | None
    rotation: Rotation | None
    headers: dict[str, str] | None


class PortalLink(TypedDict):
    """A link to the pages of one project, and when it ends."""

    project_id: str
    url: str
    expires_at: str


class Caller(TypedDict):
    """Who the caller is; without a project it is every project."""

    role: Role
    project_id: str | None


class Erased(TypedDict):
    """What has no content any more, or what a dry run has found; and what erasing does not reach (`not_reached`)."""

    events: int
    deliveries: int
    outbox_rows: int
    next_cursor: str | None
    not_reached: list[str]


class ProjectTokenPage(TypedDict):
    """API tokens of a project, by their ids."""

    items: list[ProjectToken]
    next_cursor: str | None


def delivery(row: records.Delivery) -> Delivery:
    """Return a delivery as the API has it."""
    return {**_delivery_fields(row), "id": row["delivery_id"], "held": bool(row["held"])}


def delivery_details(row: records.DeliveryDetails) -> DeliveryDetails:
    """Return a whole delivery as the API has it."""
    return {
        **delivery(row),
        "body": row["body"],
        "failed_reason": row["failed_reason"],
        "erased_at": row["erased_at"],
        "waits_for": row["waits_for"],
        "cancelled_reason": row["cancelled_reason"],
        "resend_requested_at": row["resend_requested_at"],
        "attempt_list": row["attempt_list"],
    }


def _delivery_fields(row: records.DeliveryFields) -> records.DeliveryFields:
    return {
        "date": row["date"],
        "created_at": row["created_at"],
        "test": row["test"],
        "project_id": row["project_id"],
        "webhook_id": row["webhook_id"],
        "url": row["url"],
        "event_type": row["event_type"],
        "event_id": row["event_id"],
        "state": row["state"],
        "status": row["status"],
        "duration_ms": row["duration_ms"],
        "attempts": row["attempts"],
        "tries": row["tries"],
        "next_attempt_at": row["next_attempt_at"],
    }


def event(row: records.Event) -> Event:
    """Return an event as the API has it."""
    return {
        "id": row["event_id"],
        "project_id": row["project_id"],
        "event_type": row["event_type"],
        "occurred_at": row["occurred_at"],
        "created_at": row["created_at"],
        "deliveries": row["deliveries"],
        "filtered_out": row["filtered_out"],
        "unmatched": row["unmatched"],
        "test": row["test"],
    }


def event_details(row: records.EventDetails, kept_until: str) -> EventDetails:
    """Return a whole event as the API has it."""
    return {
        **event(row),
        "body": row["body"],
        "erased_at": row["erased_at"],
        "outcomes": row["outcomes"],
        "next_cursor": row["next_cursor"],
        "kept_until": kept_until,
    }
