"""The steps of an event's way with everything in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from almirant_webhooks import clock
from almirant_webhooks.ops import sealing
from almirant_webhooks.storage.engine import FanOut, OutboxRow, ReadPlan, StorageError
from almirant_webhooks.storage.postgres import marking, outbox, rejected_rows
from almirant_webhooks.storage.postgres.connection import within
from almirant_webhooks.storage.postgres.database_session import open_database
from almirant_webhooks.storage.postgres.database_tables import migrate_database
from almirant_webhooks.storage.postgres.in_database import Inside

from .postgres import new_tables
from .postgres_service import EverythingInPostgres
from .steps import ALL, START, Steps, transaction


class PostgresSteps(Steps):
    """Rows of the outbox stay in it, marked."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.there = folder, new_tables()
        self._seals = sealing.beside(folder / "database")
        migrate_database(self.there.place, self._seals)
        self._open()
        self.outbox_part, self.rejected_part, self.inside = outbox, rejected_rows, Inside(keep=True)
        self.row_order = "ctid"
        self.refusal = StorageError

    def _open(self) -> None:
        self.conn = open_database(self.there.place, self._seals)
        self.outbox = open_database(self.there.place, self._seals)

    def bind(self) -> None:
        """Do nothing: the outbox is in the database."""

    def close(self) -> None:
        super().close()
        self.there.drop()

    def service(self) -> EverythingInPostgres:
        made = EverythingInPostgres(self._folder, self.there)
        made.key.write_bytes(self._seals.path.read_bytes())
        return made

    def reopen(self) -> None:
        self.conn.close()
        self.conn = open_database(self.there.place, self._seals)

    def insert_with_number(self, number: int, event_id: str, payload: str) -> None:
        self.outbox.execute("SELECT setval('outbox_id_seq', greatest(nextval('outbox_id_seq'), ?))", (number,))
        self.outbox.execute(
            "INSERT INTO outbox (id, event_id, project_id, event_type, payload) OVERRIDING SYSTEM VALUE "
            "VALUES (?, ?, 'p', 'lead.created', ?)",
            (number, event_id, payload),
        )

    def unread(self, plan: ReadPlan = ALL) -> list[OutboxRow]:
        with within(self.outbox):  # a test may have the lock of writers meanwhile
            return list(self.inside.read(self.outbox, plan))

    def mark(self, done: FanOut, now: datetime = START) -> None:
        with transaction(self.outbox):
            done.replace(marking.write(self.outbox, done.marks, clock.text(now)))
