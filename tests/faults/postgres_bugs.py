"""Bugs that can be put into what takes from an outbox in PostgreSQL: each function puts one in for the length of a test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest

from almirant_webhooks.delivery.batch import Batch
from almirant_webhooks.delivery.loop import DeliveryLoop
from almirant_webhooks.delivery.outbox_reader import OutboxReader
from almirant_webhooks.storage.engine import FanOut, OutboxRow, ReadPlan, StorageError
from almirant_webhooks.storage.postgres import connection, listener, outbox
from almirant_webhooks.storage.postgres.connection import Session
from almirant_webhooks.storage.postgres.store import OutboxInPostgres


def reads_behind_the_largest_id(monkeypatch: pytest.MonkeyPatch) -> None:
    true, reached = OutboxInPostgres.read, 0

    def read(self: OutboxInPostgres, plan: ReadPlan) -> list[OutboxRow]:
        nonlocal reached
        rows = [row for row in true(self, plan) if row.id > reached]
        reached = max([reached, *(row.id for row in rows)])
        return rows

    monkeypatch.setattr(OutboxInPostgres, "read", read)


def marks_before_it_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    true = OutboxInPostgres.read

    def read(self: OutboxInPostgres, plan: ReadPlan) -> list[OutboxRow]:
        rows = true(self, plan)
        mark = "UPDATE almirant_webhooks.outbox SET fanned_out_at = now() WHERE id = ANY(%s)"
        self._ask(lambda session: session.run(mark, [row.id for row in rows]))
        return rows

    monkeypatch.setattr(OutboxInPostgres, "read", read)


def does_not_know_what_it_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is read again is a new event."""
    true, known = OutboxInPostgres.read, set[int]()

    def read(self: OutboxInPostgres, plan: ReadPlan) -> list[OutboxRow]:
        rows = true(self, plan)
        again = [row._replace(event_id=f"{row.id}-again") if row.id in known else row for row in rows]
        known.update(row.id for row in rows)
        return again

    monkeypatch.setattr(OutboxInPostgres, "read", read)


def takes_every_mark_for_made(monkeypatch: pytest.MonkeyPatch) -> None:
    true = OutboxInPostgres.mark

    def mark(self: OutboxInPostgres, session: object, fan_outs: Sequence[FanOut], now: datetime) -> None:
        with suppress(StorageError):
            true(self, session, fan_outs, now)

    monkeypatch.setattr(OutboxInPostgres, "mark", mark)


def keeps_a_connection_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "is_lost", property(lambda self: False))


def keeps_a_connection_that_is_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ReadOnly", ())


def takes_the_limits_of_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    true = Session.begin

    def begin(self: Session, statements: str) -> Any:
        return true(self, re.sub(r"SET LOCAL \w+_timeout = \d+;?", "", statements))

    monkeypatch.setattr(connection, "_UNLIMITED", "SELECT %s::int")
    monkeypatch.setattr(Session, "begin", begin)


def forgets_what_it_could_not_record(monkeypatch: pytest.MonkeyPatch) -> None:
    true = DeliveryLoop._write

    def write(self: DeliveryLoop, conn: Any, batch: Batch, *, full: bool) -> None:
        try:
            true(self, conn, batch, full=full)
        except StorageError:
            self._results.drop_recorded(len(batch.work.results))
            raise

    monkeypatch.setattr(DeliveryLoop, "_write", write)


def never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OutboxReader, "force_read", lambda self: None)


def never_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.Listener, "_run", lambda self: None)


def sends_once_more_as_another_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed without an answer is inserted by no id."""
    true = outbox._insert

    def insert(session: Session, project_id: str, event_id: str | None, *rest: Any) -> str:
        return true(session, project_id, None, *rest)

    monkeypatch.setattr(outbox, "_insert", insert)
