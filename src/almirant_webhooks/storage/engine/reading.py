"""What the pages, the API and the commands read of an engine, by what it is about.

Functions are called on a session that reads one state. None writes, so that a face changes nothing but by an action. They
raise `Refused` and `NotFound` in words for people, and `StorageError`. A module of an engine may implement such a protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from ...model import Ahead, Health, Rotation, Standing, Webhook
from ...rules.selection import AuditSelection, EventSelection, Selection
from ...rules.trouble import Trouble
from ..records import (
    Attempt,
    AuditEntry,
    Delivery,
    DeliveryDetails,
    Event,
    EventDetails,
    LastAttempt,
    ListedWebhook,
    Page,
    RejectedRow,
    Resend,
    RowState,
    WebhookOverview,
    WebhookSummary,
)
from .access import Producer, ProducerToken, ProjectTokenReads, RequestKeyReads, SessionReads
from .activity import ActivityReads
from .daemons import DaemonReads
from .sealing import SealedReads
from .sessions import Session
from .stats import Stats

MOST_COUNTED = 10_000  # deliveries that a count of the log comes to
EVERY_WEBHOOK = 1_000_000  # where an event is wanted with what became of it at all of them
MOST_REJECTED = 10_000  # rejected rows that a page of one project looks at
EVERY_ROW = 2**31 - 1  # where rejected rows are looked for however many there are


class DeliverySearch(Protocol):
    """Deliveries of the log, newest first."""

    def deliveries(
        self, session: Session, selection: Selection, /, *, limit: int, cursor: str | None
    ) -> Page[Delivery]:
        """Return a page, of those before the id `cursor` if it is given.

        It takes bounded time: one that stopped early tells down to which time it has looked, and has a cursor.
        """

    def newest(self, session: Session, selection: Selection, /, *, limit: int) -> list[Delivery]:
        """Return the newest that match, however far back they are: for commands, beside which nobody waits."""

    def count(self, session: Session, selection: Selection, first: Page[Delivery] | None = None, /) -> tuple[int, bool]:
        """Return how many match, `MOST_COUNTED` at most, and whether that is all of them; it stops where a page would.

        `first` is the first page, if it was read before: where it has stopped, nothing is looked at again.
        """


class Log(Protocol):
    """Events and single deliveries of the log."""

    def delivery(self, session: Session, delivery_id: str, /, *, shown: int | None = None) -> DeliveryDetails:
        """Return one delivery with its body and its newest 50 attempts, oldest first.

        With a number in `shown` the answers of that attempt alone, and of those by which the outcome is told, have their bodies.
        """

    def attempt(self, session: Session, delivery_id: str, number: int, /) -> Attempt | None:
        """Return one attempt of a delivery, however old it is; None where there is none of that number."""

    def older_success(self, session: Session, delivery_id: str, before: int, /) -> Attempt | None:
        """Return the newest attempt that succeeded among the 1,000 before that with the number `before`."""

    def events(self, session: Session, selection: EventSelection, /, *, limit: int, cursor: int | None) -> Page[Event]:
        """Return a page of events, newest first, of those before the row `cursor` if it is given, in bounded time."""

    def newest_events(self, session: Session, selection: EventSelection, /, *, limit: int) -> list[Event]:
        """Return the newest that match, however far back they are: for commands, beside which nobody waits."""

    def event(
        self, session: Session, event_id: str, project_id: str | None, /, *, after: str = "", limit: int = EVERY_WEBHOOK
    ) -> EventDetails:
        """Return one event with its body and what became of it at the `limit` webhooks behind `after`, by their ids.

        Without a project, an id that several projects have is refused.
        """


class WebhookReads(Protocol):
    """Webhooks, without their secrets; a deleted one is not there."""

    def get(self, session: Session, webhook_id: str, /) -> Webhook:
        """Return one."""

    def find(self, session: Session, /, *, project_id: str | None, enabled: bool | None = None) -> list[Webhook]:
        """Return those of a project or of all, oldest first; with `enabled` those that are, or are not."""

    def delivery_count(self, session: Session, webhook_id: str, /) -> tuple[int, bool]:
        """Return how many deliveries the log has for one, and whether that is all: it stops at `MOST_COUNTED`."""

    def health(self, session: Session, webhook_id: str, /) -> list[Standing]:
        """Return how its deliveries stand, counted in the log: one row, or none for one that is not there."""


class WebhookPage(NamedTuple):
    """Webhooks of a page; how many stand how among all that the page's text and project select; and whether more follow."""

    rows: list[ListedWebhook]
    counts: dict[Health, int]
    more: bool


class Summaries(Protocol):
    """Many webhooks at a glance, from counts that are kept and never from the log."""

    def of_webhooks(self, session: Session, ids: Iterable[str], /) -> dict[str, WebhookSummary]:
        """Return for each webhook that is there how it stands."""

    def webhook(self, session: Session, webhook_id: str, now: datetime, /) -> WebhookOverview:
        """Return one webhook with how it stands, and the change of its secret if there is one."""

    def page(
        self,
        session: Session,
        project_id: str | None,
        since: datetime,
        /,
        *,
        limit: int,
        offset: int,
        text: str = "",
        health: Health | None = None,
    ) -> WebhookPage:
        """Return webhooks of a project or of all in the order of trouble, then by name, with their hours since a time.

        `text` is a part of the description or the URL, in which case is ignored; `health` those that stand so alone.
        """

    def trouble(self, session: Session, webhook_id: str, /) -> Trouble:
        """Return what is wrong with a webhook, in bounded time: `MOST_WAITING` deliveries are counted at most."""

    def projects(self, session: Session, limit: int, /) -> list[str]:
        """Return the projects that have webhooks, `limit` at most."""

    def names(self, session: Session, ids: Sequence[str], /) -> dict[str, str]:
        """Return the description of each webhook that is there, which may be empty."""


class RateReads(Protocol):
    """What waits for the rate limits of webhooks."""

    def waiting(self, session: Session, ids: Sequence[str] | None, now: datetime, most: int, /) -> dict[str, int]:
        """Return how many deliveries wait for the limit of each of these webhooks, or of all; `most` at most of each.

        Webhooks with a place left, and those for which nothing waits, are left out.
        """


class SecretChanges(Protocol):
    """Changes of webhooks' secrets, without the secrets."""

    def state(self, session: Session, webhook_id: str, now: datetime, /) -> Rotation | None:
        """Tell when a secret switches or has switched; None where no change is under way."""


class TokenReads(Protocol):
    """Tokens by which producers insert events through the API."""

    def find(self, session: Session, digest: str, /) -> Producer | None:
        """Return the token that has a digest, or None."""

    def listed(self, session: Session, /) -> list[ProducerToken]:
        """Return every token, oldest first; never the tokens themselves."""


class AuditReads(Protocol):
    """Who did what."""

    def entries(
        self, session: Session, selection: AuditSelection, /, *, before: int | None = None, limit: int
    ) -> list[AuditEntry]:
        """Return entries that match, newest first; `before` is the `seq` of an entry to go on after."""


class ResendReads(Protocol):
    """Resends of many deliveries, each with its progress."""

    def get(self, session: Session, resend_id: str, /) -> Resend:
        """Return one."""

    def find(
        self, session: Session, /, *, project_id: str | None = None, before: str | None = None, limit: int
    ) -> list[Resend]:
        """Return the newest, of one project alone or of all; `before` is the id of one to go on after."""


class RejectedRows(Protocol):
    """Rows of the outbox that cannot be sent; called on a session of the outbox."""

    def newest(
        self,
        session: Session,
        limit: int,
        project_id: str | None,
        /,
        *,
        before: int | None = None,
        looked_at: int = MOST_REJECTED,
    ) -> tuple[list[RejectedRow], int | None]:
        """Return the newest, of one project or of all, and the row to go on before, None at the end.

        Of one project, `looked_at` rejected rows are looked at, or `EVERY_ROW`.
        """


class DeliveryReads(Protocol):
    """What becomes of a resend that somebody waits for."""

    def resend_done(self, session: Session, delivery_id: str, /) -> LastAttempt | None:
        """Return how a delivery's last attempt ended, None while a resend or a test of it waits or is in flight."""

    def held_up_by(self, session: Session, webhook_id: str, /) -> Ahead | None:
        """Return the delivery that has failed, and that all others of an ordered webhook wait for, if there is one."""


class HealthReads(Protocol):
    """Webhooks that fail everything."""

    def failing(self, session: Session, /) -> dict[str, str]:
        """Return the enabled ones, with the time of their first failure."""


class OutboxReads(Protocol):
    """Rows of the outbox; called on a session of the outbox."""

    def waiting(self, session: Session, event_id: str, /) -> RowState | None:
        """Return what became of the newest row with an event's id, or None."""

    def count_old(self, session: Session, taken_before: str, rejected_before: str, /) -> int:
        """Count the rows that pruning would delete: taken, and rejected ones, of before two times."""


class RetentionReads(Protocol):
    """What the log has kept for long enough."""

    def count(
        self, session: Session, /, *, succeeded: timedelta, failed: timedelta, bodies: timedelta | None, now: datetime
    ) -> Iterator[dict[str, int]]:
        """Count the `deliveries` and `events` that pruning deletes, and `bodies` that it erases; yields the counts so far."""


class ReadingStore(Protocol):
    """All of it, and the state that it is read of."""

    search: DeliverySearch
    log: Log
    webhooks: WebhookReads
    summaries: Summaries
    activity: ActivityReads
    rates: RateReads
    secrets: SecretChanges
    sealed: SealedReads
    tokens: TokenReads
    project_tokens: ProjectTokenReads
    sessions: SessionReads
    request_keys: RequestKeyReads
    audit: AuditReads
    resends: ResendReads
    deliveries: DeliveryReads
    health: HealthReads
    outbox: OutboxReads
    rejected: RejectedRows
    retention: RetentionReads
    stats: Stats
    daemons: DaemonReads

    def begin(self, session: Session) -> None:
        """Let all that is read be of one state, that of the first read, until `end`; it ends one that was begun before."""

    def end(self, session: Session) -> None:
        """Let the next read be of what is committed then."""
