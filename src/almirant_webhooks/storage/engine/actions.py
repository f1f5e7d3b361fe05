"""What people's actions need of an engine, by what they are about.

Functions that write are called in a write transaction, so that each is atomic with its entry in the audit trail. They raise
`Refused` and `NotFound` in words for people, and `StorageError`. A module of an engine may implement such a protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol, Unpack

from ...model import NewWebhook, Options, Secrets, StartedRotation, Webhook, WebhookValues
from ...ops.sealing import Seals
from ...rules.replays import ReplayCount, ReplaySelection
from .access import ProjectTokens, RequestKeys, Sessions, StoredOperatorKeys
from .daemons import DaemonReads
from .imports import Imports
from .previews import Previews
from .resends import Resends
from .sealing import SealedValues
from .sessions import Session
from .upkeep import PruningStore, Walk


class Webhooks(Protocol):
    """Webhooks, as they are changed. Values are checked before."""

    def get(self, session: Session, webhook_id: str, /) -> Webhook:
        """Return one without its secret; a deleted one is not there."""

    def create(
        self, session: Session, /, *, limit: int, now: datetime, actor: str, **values: Unpack[WebhookValues]
    ) -> NewWebhook:
        """Create one; refused when the project has `limit` of them already."""

    def update(
        self,
        session: Session,
        webhook_id: str,
        /,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        secret: str | None = None,
        description: str | None = None,
        options: Options,
        now: datetime,
        actor: str,
    ) -> Webhook:
        """Change what is given; the next claim uses it. A secret takes the place of the one before and of a next one."""

    def enable(
        self,
        session: Session,
        webhook_id: str,
        /,
        *,
        discard_held: bool,
        now: datetime,
        actor: str,
        count: int | None = None,
    ) -> None:
        """Enable one; with `discard_held` what it holds counts as cancelled at once. `count` of it is for the trail."""

    def disable(self, session: Session, webhook_id: str, now: datetime, /, *, actor: str) -> None:
        """Disable one: from the commit on nothing is claimed for it."""

    def delete(self, session: Session, webhook_id: str, now: datetime, /, *, actor: str) -> None:
        """Delete one: it is gone at once, and its rows are erased in steps later."""

    def request_test(
        self, session: Session, webhook_id: str, event_type: str, payload: str, now: datetime, /, *, actor: str
    ) -> str:
        """Ask for one attempt of a sample event at this webhook alone; return the delivery's id."""


class HeldDeliveries(Protocol):
    """Deliveries that a disabled webhook holds."""

    def count(self, session: Session, webhook_id: str, /) -> int:
        """Return how many there are."""


class WebhookSecrets(Protocol):
    """Changes of a webhook's secret."""

    def start(
        self, session: Session, webhook_id: str, /, *, secret: str, switch_at: datetime, actor: str, now: datetime
    ) -> StartedRotation:
        """Begin a change to a new secret, which signs from `switch_at` on."""

    def cancel(self, session: Session, webhook_id: str, /, *, actor: str, now: datetime) -> None:
        """Take a new secret back before its switch; refused after it."""

    def reveal(self, session: Session, webhook_id: str, /, *, actor: str, now: datetime) -> Secrets:
        """Return the secrets as they sign now and the headers with their values, and write down who looked."""


class Deliveries(Protocol):
    """Single deliveries."""

    def request_resend(self, session: Session, delivery_id: str, now: datetime, /, *, actor: str) -> bool:
        """Ask for one manual attempt as soon as none is in flight; False when one waits already."""


class Replays(Protocol):
    """Kept events, sent to a webhook that has no delivery of them; `ResendingStore` takes the steps of a replay."""

    def count(self, session: Session, selection: ReplaySelection, /, *, now: datetime, kept: timedelta) -> ReplayCount:
        """Return how many events would be sent, and how far back that reaches; `kept` is how long deliveries are at least.

        Refused for a disabled webhook, and where it takes longer than people wait.
        """

    def part_end(self, session: Session, since: datetime, /) -> datetime | None:
        """Return when a part of what a count looks at ends that begins at a time; None where it is the last."""

    def start(
        self, session: Session, selection: ReplaySelection, count: ReplayCount, /, *, actor: str, now: datetime
    ) -> str:
        """Begin one that was counted; refused while the webhook is disabled, or another replay of it is under way.

        It is followed and cancelled as a resend of many, by the id that is returned.
        """


class LaterDeliveries(Protocol):
    """Single deliveries that are made after an event's fan-out."""

    def send_to(
        self, session: Session, project_id: str, event_id: str, webhook_id: str, now: datetime, /, *, actor: str
    ) -> str:
        """Make the delivery of an event for a webhook that has none of it; return its id."""


class Projects(Protocol):
    """Whose something is."""

    def projects_of(self, session: Session, delivery_ids: Sequence[str], /) -> dict[str, str]:
        """Return the project of each delivery that is there."""


class ProducerTokens(Protocol):
    """Tokens by which producers insert events through the API."""

    def add(self, session: Session, /, *, digest: str, project_id: str | None, actor: str, now: datetime) -> str:
        """Store a new token's digest; return its id."""

    def revoke(self, session: Session, token_id: str, /, *, actor: str, now: datetime) -> None:
        """Remove one: from the commit on it opens nothing."""


class AuditTrail(Protocol):
    """Who did what."""

    def note(
        self, session: Session, action: str, /, *, actor: str, now: datetime, project_id: str, detail: str = ""
    ) -> None:
        """Write an action down; `detail` never holds a secret, a payload or a URL."""


class FoundEvent(NamedTuple):
    """An event whose content is to be erased: its place in the log, whose it is, and how many deliveries it has."""

    seq: int
    project_id: str
    event_id: str
    deliveries: int


class Erasing(Protocol):
    """The content of events, as it is erased from the database."""

    def find(self, session: Session, event_id: str, project_id: str | None, /) -> FoundEvent | None:
        """Return the event of the log with an id; refused where several projects have it and none is named."""

    def search(
        self, session: Session, text: str, project_id: str | None, since: datetime | None, before: int | None, /
    ) -> tuple[list[FoundEvent], int | None]:
        """Return events with a text in their bodies, newest first, in bounded time; and where to go on, None at the end."""

    def erasure(self, events: Iterable[int], now: datetime, /) -> Walk:
        """Return a walk that erases the content of events of the log, named by `seq`, and cancels what waits of them."""

    def note(self, session: Session, now: str, /) -> None:
        """Note that something was erased, which may have left something in the engine's log of changes."""

    def unclean_since(self, session: Session, /) -> str | None:
        """Return the time of the last erasing that may have left something in the engine's log of changes, or None."""

    def note_clean(self, session: Session, since: str, /) -> None:
        """Note that nothing is left there of what was erased up to a time."""


class ErasingOutbox(Protocol):
    """Payloads, as they are overwritten in the outbox. All raise `TriggerFails`."""

    def erase_of_events(self, session: Session, events: Iterable[tuple[str, str]], /) -> int:
        """Overwrite those of events that are in the log, each a project and an id; return of how many rows."""

    def erase_rows(self, session: Session, ids: Sequence[int], /) -> int:
        """Overwrite those of rows; return of how many."""

    def rejected_of(self, session: Session, event_id: str, project_id: str, /) -> list[int]:
        """Return the rejected row of an event's id in a project, if there is one."""

    def rejected_with_text(
        self, session: Session, text: str, project_id: str | None, since: datetime | None, after: int, /
    ) -> tuple[list[int], int | None]:
        """Return which of the next few rejected rows have a text, and the row to go on behind, None at the end."""

    def count_old(self, session: Session, before: datetime, /) -> int:
        """Count the rows taken before a time whose payloads are not overwritten yet."""


class EventInserts(Protocol):
    """Events, as a producer inserts them."""

    def insert(
        self,
        session: Session,
        /,
        *,
        project_id: str,
        event_type: str,
        payload: str,
        event_id: str | None,
        occurred_at: str | None = None,
        wait: float,
    ) -> str:
        """Insert one in a transaction of its own, `wait` seconds for its lock at most; return its id.

        The same id with the same content changes nothing; with other content it is a `Conflict`.
        """


class Installation(Protocol):
    """The tables, at the paths that the settings have. No session is open then."""

    def migrate(self, database_path: Path, outbox_path: Path | None, seals: Seals, /) -> list[str]:
        """Make or upgrade them, and seal what is secret; return what was done, a sentence each."""

    def adopt_outbox(self, database_path: Path, outbox_path: Path | None, since: datetime | None, /) -> int:
        """Take the outbox over from another database; return how many taken rows are looked at again."""

    def grant_producer(self, role: str, /) -> list[str]:
        """Grant a role what a producer needs; return what was done. Raises `Refused` where the outbox knows no roles."""


class ActionStore(Protocol):
    """All of it."""

    operator_keys: StoredOperatorKeys | None  # None where they are in a file of their own
    daemons: DaemonReads
    webhooks: Webhooks
    held: HeldDeliveries
    secrets: WebhookSecrets
    sealed: SealedValues
    deliveries: Deliveries
    resends: Resends
    replays: Replays
    later: LaterDeliveries
    imports: Imports
    projects: Projects
    tokens: ProducerTokens
    project_tokens: ProjectTokens
    sessions: Sessions
    request_keys: RequestKeys
    audit: AuditTrail
    events: EventInserts
    erasing: Erasing
    erasing_outbox: ErasingOutbox
    previews: Previews
    pruning: PruningStore

    def transaction(self, session: Session, wait: float) -> AbstractContextManager[object]:
        """Run a block as one write transaction on the outbox's session, which waits so many seconds for its lock at most."""
