"""A real writer that removes everything between two statements of a reader, over each engine."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.cli import database
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.storage.sqlite import service as storage_service
from almirant_webhooks.storage.sqlite.connection import open_reader

from ..support.service import Service

KEPT = ("webhooks", "subscriptions", "webhook_hours", "webhook_failures", "deliveries", "attempts", "events", "resends", "resend_webhooks", "audit")  # fmt: skip


class Pruner:
    """A real writer that removes everything between two statements of a reader, and puts it back afterwards."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.at = 0  # the statement before which it removes; 0: none
        self.seen = 0
        self.removed = False

    def look(self, statement: str) -> None:
        """Be told of each statement of a reader before it runs."""
        if not statement.lstrip().startswith(("SELECT", "WITH")) or not self.at:
            return
        self.seen += 1
        if self.seen == self.at:
            self._write("DELETE FROM main.{0}")
            self.removed = True

    def keep(self) -> None:
        self._write("CREATE TABLE copies.{0} AS SELECT * FROM main.{0}")

    def restore(self) -> None:
        self._write("DELETE FROM main.{0}", "INSERT INTO main.{0} SELECT * FROM copies.{0}")

    def _write(self, *statements: str) -> None:
        conn = sqlite3.connect(self._service.database, timeout=10)
        conn.execute("ATTACH ? AS copies", (f"{self._service.database}.copies",))
        with conn:
            for statement in statements:
                for table in KEPT:
                    conn.execute(statement.format(table))
        conn.close()


class PostgresPruner(Pruner):
    """The same in a database of a server; the copies are in another schema there."""

    def _write(self, *statements: str) -> None:
        there: Any = self._service
        with there.there.connect() as conn:
            conn.execute("SET session_replication_role = replica")  # what refers to what does not matter
            conn.execute("CREATE SCHEMA IF NOT EXISTS copies")
            for statement in statements:
                spelled = statement.replace("main.", "").replace(
                    "SELECT * FROM copies", "OVERRIDING SYSTEM VALUE SELECT * FROM copies"
                )
                for table in KEPT:
                    conn.execute(spelled.format(table))


def pruner_of(service: Service, monkeypatch: pytest.MonkeyPatch) -> Pruner:
    """Return what removes from a service's database, whose readers tell it of their statements from now on."""
    from ..support.postgres_service import EverythingInPostgres  # whose driver a fast test does not need

    if isinstance(service, EverythingInPostgres):
        return _told_by_sessions(PostgresPruner(service), monkeypatch)
    pruner = Pruner(service)

    def traced(path: Path, seals: Seals | None = None) -> sqlite3.Connection:
        conn = open_reader(path, seals)
        conn.set_trace_callback(pruner.look)
        return conn

    monkeypatch.setattr(storage_service, "open_reader", traced)
    monkeypatch.setattr(database, "open_reader", traced)
    return pruner


def _told_by_sessions(pruner: Pruner, monkeypatch: pytest.MonkeyPatch) -> Pruner:
    from almirant_webhooks.storage.postgres.connection import Session
    from almirant_webhooks.storage.postgres.database_session import DatabaseSession

    readers: set[object] = set()
    begin = Session.begin

    def note(session: Session, statements: str) -> Any:
        (readers.add if "READ ONLY" in statements else readers.discard)(session)
        return begin(session, statements)

    def told(kind: type[Session], name: str) -> None:
        run = getattr(kind, name)

        def look(session: Session, text: str, *values: Any) -> Any:
            if session in readers:
                pruner.look(text)
            return run(session, text, *values)

        monkeypatch.setattr(kind, name, look)

    monkeypatch.setattr(Session, "begin", note)
    for kind, name in ((Session, "run"), (DatabaseSession, "_run"), (DatabaseSession, "_run_unnamed")):
        told(kind, name)
    return pruner
