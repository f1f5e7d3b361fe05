"""SQLite as people look at it: `storage.engine.ReadingStore`, of which all parts are modules."""

from __future__ import annotations

import sqlite3

from .. import engine
from . import (
    audit,
    connection,
    deliveries,
    health,
    log,
    outbox,
    producers,
    rejected_rows,
    resends,
    retention,
    rotation,
    sealed,
    search,
    starts,
    stats,
    summaries,
    webhooks,
)


class SqliteReadingStore:
    """The parts, each by the module of its name or of what it is about."""

    search: engine.DeliverySearch = search
    log: engine.Log = log
    webhooks: engine.WebhookReads = webhooks
    summaries: engine.Summaries = summaries
    rates: engine.RateReads = starts
    secrets: engine.SecretChanges = rotation
    sealed: engine.SealedReads = sealed
    tokens: engine.TokenReads = producers
    audit: engine.AuditReads = audit
    resends: engine.ResendReads = resends
    deliveries: engine.DeliveryReads = deliveries
    health: engine.HealthReads = health
    outbox: engine.OutboxReads = outbox
    rejected: engine.RejectedRows = rejected_rows
    retention: engine.RetentionReads = retention
    stats: engine.Stats = stats

    def begin(self, conn: sqlite3.Connection) -> None:
        """Let all that is read from now on be of one state of the file."""
        connection.begin_reading(conn)

    def end(self, conn: sqlite3.Connection) -> None:
        """Let the next read be of what is committed then."""
        connection.end_reading(conn)
