"""The words of the contract (section 1) as types: states, triggers, outcomes, and the records that travel between the layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypedDict

EVENT_ID_PATTERN = re.compile(r"[A-Za-z0-9_:-]{1,128}")
PROJECT_ID_PATTERN = re.compile(r"[!-~]{1,128}")
MAX_PAYLOAD_BYTES = 256 * 1024
# The project of operators' own webhooks: its events are made here, never by producers.
RESERVED_PROJECT = "almirant"

# Who did something, as the audit trail names them; the commands give the system user instead.
OPERATOR = "operator"
SERVICE = "the service"

NO_THREAD = (
    "The daemon could not start its threads ({error}). It has 10, and up to 14 with PostgreSQL: raise the limit of processes "
    "and threads (`ulimit -u`, TasksMax= in the unit, the container's limit of processes), or end others of this user."
)

Headers = tuple[tuple[str, str], ...]
MASK = "(masked)"  # in place of a value that nobody is shown
Condition = dict[str, Any]  # of a filter: `field`, `op` and, for most operators, `value`
Filter = list[Condition]


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Health(StrEnum):
    """How a webhook stands in a word, in the order of trouble."""

    DISABLED = "disabled"  # by the service
    FAILING = "failing"  # nothing but failures for an hour
    FAILED = "failed"  # its last attempt
    OFF = "off"  # somebody disabled it
    WELL = "well"


class Trigger(StrEnum):
    """What an attempt was made for: the schedule, or somebody's request."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCESS = "success"
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"


class Refused(Exception):
    """Something a user asked for that cannot be done; its text is a sentence for that user (exit 1).

    `others` are further fields that are wrong, for a face that shows them all at once.
    """

    def __init__(self, message: str, field: str | None = None, others: Sequence[Refused] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.others = others

    def by_field(self) -> dict[str, str]:
        """Return the sentence of each field that is wrong; one without a field has an empty name."""
        return {refused.field or "": refused.message for refused in (self, *self.others)}


class WrongUsage(Refused):
    """What was asked contradicts itself, or leaves out what it is about (exit 2)."""


class Full(Refused):
    """A project has as many of something as it may have (exit 1)."""


class LocalUrl(Refused):
    """A URL of the machine itself, where those are not allowed (exit 1)."""


class Waiting(Refused):
    """What was asked has to wait for something that was asked before, or to take its place (exit 1)."""


class NotFound(Refused):
    """An id that names nothing (exit 1)."""


class Conflict(Refused):
    """Something that is there already, with other content (exit 1)."""


class Outdated(Refused):
    """A change of something that somebody else has changed since it was read (exit 1)."""


class Misconfigured(Exception):
    """What a restart cannot mend: configuration, rights, a wrong or damaged file (exit 78)."""


class Options(TypedDict, total=False):
    """What a webhook can be told, each a column of its row; `rules/webhook_options.py` has their rules.

    Of a change: an option that is not in it stays as it is, and None takes one away.
    """

    filter: Filter | None  # which of its events it gets, beyond their type
    concurrency: int | None  # requests under way at once, in place of `delivery.concurrency_per_webhook`
    headers: Mapping[str, str | None] | None  # further ones by name; None for one takes it away, the mask keeps it
    rate_limit: str | None  # attempts that may begin within a second, minute or hour: `10/s`
    template: str | None  # what is sent in place of an event's own body (`rules/templates.py`)
    ordered: bool | None  # one delivery after the other; False is the same as None


OPTIONS = tuple(Options.__annotations__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A configured receiver of one project, as commands, API and pages show it."""

    id: str
    project_id: str
    url: str
    description: str
    events: tuple[str, ...]
    filter: Filter | None
    concurrency: int | None
    headers: dict[str, str] | None  # by name, each value masked
    rate_limit: str | None
    template: str | None
    ordered: bool
    enabled: bool
    disabled_at: str | None
    disabled_reason: str | None  # of the service; None where somebody disabled it
    created_at: str
    updated_at: str


class WebhookValues(TypedDict):
    """What a new webhook is made of: checked, and as it is stored."""

    project_id: str
    url: str
    events: Sequence[str]
    secret: str
    description: str
    options: Options


@dataclass(frozen=True, slots=True)
class NewWebhook(Webhook):
    """A webhook at its creation, the one time that its secret is beside it."""

    secret: str


class Standing(TypedDict):
    """How a webhook's deliveries stand: a row of the view `webhook_health`. Times as text."""

    webhook_id: str
    project_id: str
    url: str
    enabled: int
    pending: int
    succeeded: int
    failed: int
    cancelled: int
    held: int
    last_success: str | None
    last_failure: str | None
    failures_in_a_row: int
    failing_since: str | None


class Rotation(TypedDict):
    """A change of a webhook's secret; `webhook-signature` carries both secrets until `both_until`. Times as text."""

    switch_at: str
    switched: bool
    both_until: str


class StartedRotation(Rotation):
    """A change of secret as it begins, the one time that the new secret is beside it."""

    webhook_id: str
    secret: str


class Secrets(NamedTuple):
    """A webhook's secrets at one time: `current` signs; `next` will after a switch to come; `last` did before one.

    `headers` has the webhook's headers with their values, for who asks to see what is secret.
    """

    current: str
    next: str | None = None
    last: str | None = None
    headers: Headers = ()


class Due(NamedTuple):
    """When a webhook has its next attempt, as text, whose it is, and what it was told about how much it takes.

    `test` says that a test waits, which no rate limit holds up; it is known of webhooks with a rate limit alone.
    """

    at: str
    project_id: str
    concurrency: int | None = None
    rate_limit: str | None = None
    test: bool = False


class Ahead(TypedDict):
    """The delivery that others wait for by their order; `attempt` is its next one on the schedule, or the one `in_flight`."""

    delivery_id: str
    attempt: int
    in_flight: bool
    next_attempt_at: str | None


class InOrder(TypedDict):
    """What has to wait by the order of a webhook, and for what."""

    waits_for: Ahead | None


class Claim(NamedTuple):
    """One attempt that is recorded as begun: all that the sender needs to make its request.

    It is signed by `rules.signing.signed`: it gets the `head` of its request, and what the log keeps of that. `limited` says that
    it counts in its webhook's rate limit.
    """

    delivery_id: str
    webhook_id: str
    event_id: str
    event_type: str
    url: str
    secret: str
    body: bytes
    number: int
    trigger: Trigger
    test: bool
    started_at: datetime
    webhook_headers: Headers = ()  # those that the webhook was told to send too; an attempt's record has their names
    limited: bool = False
    next_secret: str | None = None
    last_secret: str | None = None
    head: str = ""  # these two stay the last ones: `signed` adds them to all others
    packed: str = ""

    def __repr__(self) -> str:
        """Name it without what is secret: an event loop writes its callbacks' arguments into the log."""
        return f"Claim({self.delivery_id}, {self.number})"


class Result(NamedTuple):
    """What became of one attempt. `duration_ms` runs to the end of the answer's head; `retry_after` is in seconds.

    `free` says that it was interrupted by an outage or a fault of ours: it is shown, and counts for nothing; `retry_after`
    then says when it is tried again.
    """

    claim: Claim
    outcome: Outcome
    finished_at: datetime
    duration_ms: int
    status_code: int | None = None
    cause: str | None = None
    retry_after: float | None = None
    response_headers: Headers = ()
    response_body: bytes = b""
    body_cut: bool = False
    free: bool = False
