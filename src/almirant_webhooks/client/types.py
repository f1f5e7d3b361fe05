"""What the client's methods take and return, beside the answers that the API itself has types of."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from ..model import Filter, Options


class Webhook(Options):
    """A webhook, with the options that it was told; in a list without its `etag`, which `if_match` takes."""

    id: str
    project_id: str
    url: str
    description: str
    events: list[str]
    enabled: bool
    disabled_at: str | None
    disabled_reason: str | None
    created_at: str
    updated_at: str
    etag: NotRequired[str]


class CreatedWebhook(Webhook):
    """A webhook at its creation, the one time that its secret is beside it."""

    secret: str


class EnabledWebhook(Webhook):
    """A webhook that was enabled, and how many deliveries were held until then."""

    held: int


class Previewed(TypedDict, total=False):
    """Options to try in place of those that a webhook has."""

    filter: Filter | None
    template: str | None


class Events(TypedDict, total=False):
    """Which events are listed; all conditions hold. Times are as `since` and `until` of the API."""

    project: str
    type: str
    unmatched: bool
    since: str
    until: str


class Deliveries(TypedDict, total=False):
    """Which deliveries are listed; all conditions hold. `q` is a text in the body, `test` is false for all but tests."""

    project: str
    webhook: str
    state: Literal["pending", "succeeded", "failed", "cancelled", "held"]
    status: str
    type: str
    event: str
    cause: str
    since: str
    until: str
    q: str
    test: bool


class Replayed(TypedDict, total=False):
    """Which events are replayed, beside the time since when."""

    until: str | None
    event: str | None
    include_cancelled: bool


class Resent(TypedDict, total=False):
    """Which deliveries are sent again; all conditions hold."""

    project_id: str
    webhook_id: str
    state: Literal["pending", "succeeded", "failed", "cancelled", "held"]
    status: str
    event_type: str
    event_id: str
    cause: str
    since: str
    until: str


class Entries(TypedDict, total=False):
    """Which entries of the audit trail are listed; all conditions hold."""

    project: str
    webhook: str
    action: str
    since: str
    until: str
