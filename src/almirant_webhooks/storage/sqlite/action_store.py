"""SQLite as people's actions need it: `storage.engine.ActionStore`, of which most parts are modules."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager

from .. import engine
from . import (
    audit,
    connection,
    deliveries,
    erasing,
    erasing_outbox,
    held,
    later_deliveries,
    outbox,
    previews,
    producers,
    replays,
    resends,
    rotation,
    sealed,
    summaries,
    webhooks,
)
from .upkeep_store import SqlitePruningStore


class SqliteActionStore:
    """Offers the modules of this room under the names of the protocol."""

    webhooks: engine.Webhooks = webhooks
    held: engine.HeldDeliveries = held
    secrets: engine.WebhookSecrets = rotation
    sealed: engine.SealedValues = sealed
    deliveries: engine.Deliveries = deliveries
    resends: engine.Resends = resends
    replays: engine.Replays = replays
    later: engine.LaterDeliveries = later_deliveries
    projects: engine.Projects = summaries
    tokens: engine.ProducerTokens = producers
    audit: engine.AuditTrail = audit
    events: engine.EventInserts = outbox
    erasing: engine.Erasing = erasing
    erasing_outbox: engine.ErasingOutbox = erasing_outbox
    previews: engine.Previews = previews
    pruning: engine.PruningStore = SqlitePruningStore()

    def transaction(self, conn: sqlite3.Connection, wait: float) -> AbstractContextManager[object]:
        """Run a block as one write transaction."""
        return connection.transaction(conn, wait)
