"""What work beside delivery needs of an engine: old rows are removed, webhooks are watched, deliveries are resent in bulk.

Functions that write are called in a write transaction of a `Worker`, in steps of bounded size; the others read. Where several
daemons work on one database, a step that one of them takes is a step for all.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from ...model import Due
from .sessions import Session
from .stats import OutboxFigures, Pending

ResendPlace = tuple[str, str]  # a resend and a webhook, up to which steps have come
FIRST_RESEND: ResendPlace = ("", "")
NOTICED_AT_ONCE = 100  # webhooks of each kind that one look notices
TOLD_AT_ONCE = 20  # webhooks whose failed deliveries one step tells of
DISABLED_AT_ONCE = 20  # webhooks that one step disables


class Walk(Protocol):
    """Goes once through what can be too old; `removed` counts."""

    removed: Counter[str]

    def step(self, session: Session, limit: int) -> bool:
        """Look at no more than `limit` rows, and remove what is too old; tell whether there is another step."""


class HealthChange(NamedTuple):
    """A webhook that has begun to fail, or has recovered; `since` is its first failure, or its first success."""

    webhook_id: str
    host: str
    since: str | None


class HealthChanges(NamedTuple):
    """The webhooks that have begun to fail, those that have recovered, and those that have something due by a notice of it."""

    begun: list[HealthChange]
    over: list[HealthChange]
    touched: set[str]


class Disabled(NamedTuple):
    """The webhooks that a step has disabled, with their first failures, and those that have something due by a notice of it."""

    webhooks: list[HealthChange]
    touched: set[str]


class ResendStep(NamedTuple):
    """What a step came to: webhooks that have more to send, when, the resends that are finished, and where to go on."""

    touched: set[str]
    due: dict[str, Due]
    finished: list[str]
    reached: ResendPlace


class PruningStore(Protocol):
    """What is removed, and what is settled, in the course of time. Each returns how much it did: less than asked ends it."""

    def erase_deleted(self, session: Session, limit: int) -> int:
        """Erase rows of deleted webhooks, a webhook's own row last."""

    def discard(self, session: Session, limit: int) -> int:
        """Cancel what was discarded when its webhook was enabled."""

    def settle_secrets(self, session: Session, now: datetime, limit: int) -> int:
        """Forget the secrets before those switches that are a day old."""

    def prune_outbox(self, session: Session, taken_before: datetime, limit: int) -> int:
        """Delete rows of the outbox that were taken before a time; `TriggerFails` where an application keeps them."""

    def release_pages(self, session: Session, pages: int) -> int:
        """Give room that is free inside the database back to the disk."""

    def tidy(self, session: Session) -> None:
        """Give back the room of the database's own log of changes. It makes no transaction."""

    def tidy_outbox(self, session: Session) -> None:
        """Likewise for the outbox, where it is not in a database of an application's."""

    def held_too_long(self, since: datetime) -> Walk:
        """Return a walk that cancels what has been held since before a time."""

    def rejected_rows(self, before: datetime) -> Walk:
        """Return a walk through the outbox that deletes rejected rows of before a time."""

    def old_bodies(self, before: datetime, now: datetime) -> Walk:
        """Return a walk that erases the content of events that were taken before a time, but for what waits."""

    def old_payloads(self, before: datetime) -> Walk:
        """Return a walk through the outbox that overwrites the payloads of rows that were taken before a time."""

    def note_erased(self, session: Session, now: datetime) -> None:
        """Note in the database that an engine's log of changes may have something of what was overwritten."""

    def sessions(self, before: datetime) -> Walk:
        """Return a walk that deletes sessions of browsers and used links that ended before a time."""

    def request_keys(self, before: datetime) -> Walk:
        """Return a walk that deletes what requests with a key did before a time."""

    def log(self, *, succeeded: timedelta, failed: timedelta, now: datetime) -> Walk:
        """Return a walk that deletes what the log has kept for longer than these."""


class CleaningStore(Protocol):
    """What is left of erased content in an engine's log of changes."""

    def unclean_since(self, session: Session, /) -> str | None:
        """Return the time of the last erasing that may have left something there, or None."""

    def note_clean(self, session: Session, since: str, /) -> None:
        """Note that nothing is left there of what was erased up to a time, in a write transaction."""

    def empty_wal(self, session: Session, /) -> bool:
        """Empty it, outside of a transaction and without waiting; tell whether it is empty, or was left to a later call."""

    def empty_outbox_wal(self, session: Session, /) -> bool:
        """Likewise for the outbox's; one in a database of an application's is left alone."""


class ObservingStore(Protocol):
    """How the service stands."""

    def sizes(self, session: Session) -> dict[str, int]:
        """Return the bytes of the `database`, and of its disk that are free (`disk_free`) where it is here; raises `OSError`."""

    def wal_bytes(self, session: Session) -> int:
        """Return the bytes of a session's log of changes, 0 where it has none."""

    def pending(self, session: Session, now: datetime) -> Pending:
        """Count what is `due`, `scheduled` and `held`, and tell for how long the oldest has been due (`oldest_due_seconds`)."""

    def webhooks(self, session: Session) -> dict[str, int]:
        """Count webhooks by what they are: `enabled`, `disabled`, and `failing` among the enabled."""

    def outbox(self, session: Session, now: datetime) -> OutboxFigures:
        """Count the outbox's rows that are `unread` and `rejected`, a thousand at most."""

    def unread_rows(self, session: Session) -> tuple[int | None, int]:
        """Return the outbox's first unread row, if there is one, and its last row."""

    def note_health_changes(self, session: Session, now: datetime) -> HealthChanges:
        """Note which webhooks have failed everything for an hour, and which have recovered, in a write transaction.

        `NOTICED_AT_ONCE` of each at most. Operators, and the webhook's project, get an event of each in that transaction.
        """

    def has_failed_to_tell(self, session: Session, now: datetime) -> bool:
        """Tell whether `tell_failed` has something to do."""

    def tell_failed(self, session: Session, now: datetime) -> set[str]:
        """Tell projects of their deliveries that have failed for good, in a write transaction.

        `TOLD_AT_ONCE` webhooks at most, each at most once a minute. Return the webhooks that have something due by it.
        """

    def disable_down(self, session: Session, after: timedelta, now: datetime) -> Disabled:
        """Disable webhooks whose scheduled attempts have failed for `after`, in a write transaction.

        That is the time from the first one since the last success, or since the webhook was enabled, to the newest one; a
        delivery must have failed for good in it. `DISABLED_AT_ONCE` at most, none of operators' own, each with its entry in
        the audit trail and its events.
        """

    def own_webhooks(self, session: Session) -> set[str]:
        """Return the webhooks of operators that have something to send."""

    def first_due(self, session: Session, webhook_ids: set[str]) -> dict[str, Due]:
        """Return when each of the webhooks has its next attempt; one with none is left out."""


class ResendingStore(Protocol):
    """Resends of many deliveries."""

    def under_way(self, session: Session) -> bool:
        """Tell whether a resend has something left to do."""

    def step(self, session: Session, now: datetime, after: ResendPlace, *, kept: timedelta) -> ResendStep:
        """Let some more deliveries be resent, of the resends and webhooks after a place, in a write transaction.

        `kept` is how long deliveries are kept at least: a replay reaches no further back.
        """
