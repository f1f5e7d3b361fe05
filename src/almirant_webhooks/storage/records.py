"""What storage tells of deliveries, attempts, events, resends and webhooks: dictionaries, as rows of the log's views are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, TypedDict, TypeVar

from ..model import Health, InOrder, Outcome, Rotation, State, Webhook
from ..rules.outcomes import Attempt as Attempt

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows, and where the next page begins; `looked_back_to` is the time down to which a search has come so far."""

    items: list[Row]
    next_cursor: str | None = None
    looked_back_to: str | None = None


class DeliveryFields(TypedDict):
    """What every face shows of a delivery by the same names; times are texts of UTC.

    Lists are in the order of `created_at`, by which `since` and `until` select; `date` is that of the last attempt.
    """

    date: str
    created_at: str
    test: bool
    project_id: str
    webhook_id: str
    url: str
    event_type: str
    event_id: str
    state: State
    status: str | None
    duration_ms: int | None
    attempts: int
    tries: int
    next_attempt_at: str | None


class Delivery(DeliveryFields):
    """A row of `delivery_log`; `held` is 0 or 1."""

    delivery_id: str
    held: int


class LastAttempt(TypedDict):
    """How the last attempt of a delivery ended."""

    delivery_id: str
    number: int
    outcome: Outcome
    status_code: int | None
    cause: str | None
    duration_ms: int | None


class Details(InOrder):
    """What one delivery has beside its row: its body as it is sent and its newest attempts, oldest first.

    Where a template made no body it is None, and `failed_reason` says why. `erased_at` says when body and answers were
    erased; the body is `{}` then. `waits_for` is what its webhook's order puts before it.
    """

    body: str | None
    failed_reason: str | None
    erased_at: str | None
    cancelled_reason: str | None
    resend_requested_at: str | None
    attempt_list: list[Attempt]


class DeliveryDetails(Delivery, Details):
    """One delivery as a whole."""


class EventFields(TypedDict):
    """What every face shows of an event by the same names; `deliveries` is their number, `filtered_out` that of filters that held it back."""

    project_id: str
    event_type: str
    occurred_at: str
    created_at: str
    deliveries: int
    filtered_out: int
    unmatched: bool
    test: bool


class Event(EventFields):
    """An event that was taken; `seq` is its place in the log."""

    seq: int
    event_id: str


class EventOutcome(TypedDict):
    """What became of an event at one webhook, with a sentence that says why; no webhook where nobody was there to send it to.

    `condition` is that of the webhook's filter which did not hold, in words, where the event was filtered out.
    """

    event_id: str
    project_id: str
    event_type: str
    created_at: str
    webhook_id: str | None
    url: str | None
    delivery_id: str | None
    outcome: str
    unmatched: int
    condition: str | None
    verdict: str


class EventOutcomes(TypedDict):
    """What one event has beside its row: its body and its outcomes, by webhook; `next_cursor` is the webhook to go on behind.

    `erased_at` says when its content was erased; the body is `{}` then.
    """

    body: str
    erased_at: str | None
    outcomes: list[EventOutcome]
    next_cursor: str | None


class EventDetails(Event, EventOutcomes):
    """One event as a whole."""


class RejectedRow(TypedDict):
    """A row of the outbox that cannot be sent, and why; `id` is its number there."""

    id: int
    event_id: str
    project_id: str
    event_type: str
    rejected_reason: str


class RowState(TypedDict):
    """What became of a row of the outbox; neither, where it waits."""

    id: int
    rejected_reason: str | None
    fanned_out_at: str | None


class Progress(StrEnum):
    """Where a resend of many stands."""

    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class ResendKind(StrEnum):
    """What is sent: deliveries that are there once more, or kept events to a webhook that has no delivery of them."""

    RESEND = "resend"
    REPLAY = "replay"


class Resend(TypedDict):
    """A resend of many, or a replay, with its progress; `filters` is its selection.

    `failed` are deliveries that a resend has sent again and that are not succeeded, or those of a replay that were given up.
    """

    id: str
    kind: ResendKind
    actor: str
    project_id: str | None
    filters: dict[str, str]
    created_at: str
    cancelled_at: str | None
    finished_at: str | None
    matched: int
    requested: int
    waiting: int
    succeeded: int
    failed: int
    state: Progress


class Hour(NamedTuple):
    """A webhook's attempts that began in one hour (`2026-01-31T09`)."""

    start: str
    succeeded: int
    failed: int


class WebhookSummary(TypedDict):
    """How a webhook stands; times are texts of UTC.

    Where `held_more` is true more than `held` deliveries are held.
    """

    last_at: str | None
    last_success: str | None
    last_failure: str | None
    failures_in_a_row: int
    failing_since: str | None
    held: int
    held_more: bool


class ListedWebhook(WebhookSummary):
    """A webhook in a list, with its hours that had attempts, oldest first."""

    webhook: Webhook
    health: Health
    hours: list[Hour]


class WebhookOverview(WebhookSummary, InOrder):
    """One webhook, the change of its secret if there is one, and what all its others wait for in their order."""

    webhook: Webhook
    health: Health
    rotation: Rotation | None


class Daemon(TypedDict):
    """A daemon on a database that several share: its host and process, since when it is there, and what it owns.

    Of all projects it owns those in so many of 64 buckets; `projects` counts those with a webhook.
    """

    id: str
    name: str
    since: str
    buckets: int
    projects: int


class AuditEntry(TypedDict):
    """Who did what, and when; the project is empty where all are meant. `seq` is its place in the trail."""

    seq: int
    at: str
    actor: str
    action: str
    project_id: str
    webhook_id: str | None
    delivery_id: str | None
    detail: str
