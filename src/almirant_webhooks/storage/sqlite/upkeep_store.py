"""SQLite as the work beside delivery needs it: `storage.engine`'s stores for pruning, observing and resending."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ... import clock
from ...model import Due
from ..engine import FIRST_RESEND, Disabled, HealthChanges, ResendPlace, ResendStep, Walk
from . import (
    connection,
    deliveries,
    disabling,
    erasing,
    erasing_outbox,
    health,
    held,
    outbox,
    rejected_rows,
    resend_steps,
    retention,
    rotation,
    stats,
)


class SqlitePruningStore:
    """Removes rows, by the functions of the other modules."""

    def erase_deleted(self, conn: sqlite3.Connection, limit: int) -> int:
        """Erase rows of deleted webhooks."""
        return deliveries.erase_deleted(conn, limit)

    def discard(self, conn: sqlite3.Connection, limit: int) -> int:
        """Cancel discarded deliveries."""
        return held.discard(conn, limit)

    def settle_secrets(self, conn: sqlite3.Connection, now: datetime, limit: int) -> int:
        """End rotations of secrets that are over."""
        return rotation.settle(conn, now, limit)

    def prune_outbox(self, conn: sqlite3.Connection, taken_before: datetime, limit: int) -> int:
        """Delete rows that were taken before a time."""
        return outbox.prune(conn, clock.text(taken_before), limit)

    def release_pages(self, conn: sqlite3.Connection, pages: int) -> int:
        """Give free pages back to the file system."""
        return retention.release_pages(conn, pages)

    def tidy(self, conn: sqlite3.Connection) -> None:
        """Shorten a WAL that has grown beyond its limit."""
        connection.shorten_wal(conn)

    def tidy_outbox(self, conn: sqlite3.Connection) -> None:
        """Shorten the outbox's WAL, if its file is ours."""
        if outbox.is_alone(conn):
            connection.shorten_wal(conn)

    def held_too_long(self, since: datetime) -> Walk:
        """Return the walk of `held`."""
        return held.TooLong(since)

    def rejected_rows(self, before: datetime) -> Walk:
        """Return the walk of `rejected_rows`."""
        return rejected_rows.Sweep(clock.text(before))

    def old_bodies(self, before: datetime, now: datetime) -> Walk:
        """Return the walk of `erasing`."""
        return erasing.OldBodies(before, now)

    def old_payloads(self, before: datetime) -> Walk:
        """Return the walk of `erasing_outbox`."""
        return erasing_outbox.OldPayloads(before)

    def log(self, *, succeeded: timedelta, failed: timedelta, now: datetime) -> Walk:
        """Return the walk of `retention`."""
        return retention.Sweep(succeeded=succeeded, failed=failed, now=now)


class SqliteObservingStore:
    """Observes the database in the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sizes(self) -> dict[str, int]:
        """Return the bytes of the file, of its WAL, and those free on their disk."""
        return stats.sizes(self._path)

    def wal_bytes(self, conn: sqlite3.Connection) -> int:
        """Return the bytes of the WAL of a connection's file."""
        return stats.wal_bytes(conn)

    def pending(self, conn: sqlite3.Connection, now: datetime) -> dict[str, Any]:
        """Count pending deliveries."""
        return stats.pending(conn, now)

    def webhooks(self, conn: sqlite3.Connection) -> dict[str, int]:
        """Count webhooks."""
        return stats.webhooks(conn)

    def outbox(self, conn: sqlite3.Connection, now: datetime) -> dict[str, Any]:
        """Count rows of the outbox."""
        return stats.outbox(conn, now)

    def unread_rows(self, conn: sqlite3.Connection) -> tuple[int | None, int]:
        """Return the first unread row and the last row."""
        return stats.unread_rows(conn)

    def note_health_changes(self, conn: sqlite3.Connection, now: datetime) -> HealthChanges:
        """Note which webhooks have begun to fail everything, and which have recovered."""
        return health.note_health_changes(conn, now)

    def has_failed_to_tell(self, conn: sqlite3.Connection, now: datetime) -> bool:
        """Return whether a project waits to be told of failed deliveries."""
        return health.has_failed_to_tell(conn, now)

    def tell_failed(self, conn: sqlite3.Connection, now: datetime) -> set[str]:
        """Insert notices of failed deliveries."""
        return health.tell_failed(conn, now)

    def disable_down(self, conn: sqlite3.Connection, after: timedelta, now: datetime) -> Disabled:
        """Disable webhooks that have failed everything for `after`."""
        return disabling.disable_down(conn, after, now)

    def own_webhooks(self, conn: sqlite3.Connection) -> set[str]:
        """Return operators' webhooks that have something to send."""
        return health.own_webhooks(conn)

    def first_due(self, conn: sqlite3.Connection, webhook_ids: set[str]) -> dict[str, Due]:
        """Return when each of the webhooks has its next attempt."""
        return deliveries.first_due(conn, webhook_ids)


class SqliteResendingStore:
    """Bulk resends and replays."""

    def under_way(self, conn: sqlite3.Connection) -> bool:
        """Return whether a bulk resend is under way."""
        return resend_steps.under_way(conn)

    def step(
        self, conn: sqlite3.Connection, now: datetime, after: ResendPlace = FIRST_RESEND, *, kept: timedelta
    ) -> ResendStep:
        """Take one step of the bulk resends and replays."""
        return resend_steps.step(conn, now, after, kept=kept)
