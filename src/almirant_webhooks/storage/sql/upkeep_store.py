"""What the work beside delivery needs, but for what each engine does in its own way: `storage.engine`'s stores."""

from __future__ import annotations

from datetime import datetime, timedelta

from ... import clock
from ...model import Due
from ..engine import FIRST_RESEND, Disabled, HealthChanges, Pending, ResendPlace, ResendStep, Walk
from . import (
    deliveries,
    disabling,
    erasing,
    health,
    held,
    request_keys,
    resend_steps,
    retention,
    rotation,
    sessions,
    stats,
)
from .session import Session


class SharedPruningStore:
    """Removes rows of the log and of webhooks."""

    def erase_deleted(self, conn: Session, limit: int) -> int:
        """Erase rows of deleted webhooks."""
        return deliveries.erase_deleted(conn, limit)

    def discard(self, conn: Session, limit: int) -> int:
        """Cancel discarded deliveries."""
        return held.discard(conn, limit)

    def settle_secrets(self, conn: Session, now: datetime, limit: int) -> int:
        """End rotations of secrets that are over."""
        return rotation.settle(conn, now, limit)

    def held_too_long(self, since: datetime) -> Walk:
        """Return the walk of `held`."""
        return held.TooLong(since)

    def old_bodies(self, before: datetime, now: datetime) -> Walk:
        """Return the walk of `erasing`."""
        return erasing.OldBodies(before, now)

    def note_erased(self, conn: Session, now: datetime) -> None:
        """Note that the WALs have to be emptied."""
        erasing.note(conn, clock.text(now))

    def sessions(self, before: datetime) -> Walk:
        """Return the walk of `sessions`."""
        return sessions.Sweep(clock.text(before))

    def request_keys(self, before: datetime) -> Walk:
        """Return the walk of `request_keys`."""
        return request_keys.Sweep(clock.text(before))

    def log(self, *, succeeded: timedelta, failed: timedelta, now: datetime) -> Walk:
        """Return the walk of `retention`."""
        return retention.Sweep(succeeded=succeeded, failed=failed, now=now)


class SharedObservingStore:
    """Observes deliveries and webhooks."""

    def pending(self, conn: Session, now: datetime) -> Pending:
        """Count pending deliveries."""
        return stats.pending(conn, now)

    def webhooks(self, conn: Session) -> dict[str, int]:
        """Count webhooks."""
        return stats.webhooks(conn)

    def note_health_changes(self, conn: Session, now: datetime) -> HealthChanges:
        """Note which webhooks have begun to fail everything, and which have recovered."""
        return health.note_health_changes(conn, now)

    def has_failed_to_tell(self, conn: Session, now: datetime) -> bool:
        """Return whether a project waits to be told of failed deliveries."""
        return health.has_failed_to_tell(conn, now)

    def tell_failed(self, conn: Session, now: datetime) -> set[str]:
        """Insert notices of failed deliveries."""
        return health.tell_failed(conn, now)

    def disable_down(self, conn: Session, after: timedelta, now: datetime) -> Disabled:
        """Disable webhooks that have failed everything for `after`."""
        return disabling.disable_down(conn, after, now)

    def own_webhooks(self, conn: Session) -> set[str]:
        """Return operators' webhooks that have something to send."""
        return health.own_webhooks(conn)

    def first_due(self, conn: Session, webhook_ids: set[str]) -> dict[str, Due]:
        """Return when each of the webhooks has its next attempt."""
        return deliveries.first_due(conn, webhook_ids)


class SharedResendingStore:
    """Bulk resends and replays."""

    def under_way(self, conn: Session) -> bool:
        """Return whether a bulk resend is under way."""
        return resend_steps.under_way(conn)

    def step(self, conn: Session, now: datetime, after: ResendPlace = FIRST_RESEND, *, kept: timedelta) -> ResendStep:
        """Take one step of the bulk resends and replays."""
        return resend_steps.step(conn, now, after, kept=kept)
