"""SQLite as people's actions need it: `storage.engine.ActionStore`, of which most parts are modules."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager

from .. import engine
from ..sql.action_store import SharedActionStore
from . import connection, daemons, erasing_outbox, outbox
from .upkeep_store import SqlitePruningStore


class SqliteActionStore(SharedActionStore):
    """SQLite's own parts beside the shared ones."""

    operator_keys: engine.StoredOperatorKeys | None = None
    daemons: engine.DaemonReads = daemons
    events: engine.EventInserts = outbox
    erasing_outbox: engine.ErasingOutbox = erasing_outbox
    pruning: engine.PruningStore = SqlitePruningStore()

    def transaction(self, conn: sqlite3.Connection, wait: float) -> AbstractContextManager[object]:
        """Run a block as one write transaction."""
        return connection.transaction(conn, wait)
