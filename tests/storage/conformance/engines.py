"""The engines that the tests run over. A new one is registered here, with what only it knows: making, breaking and locking."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, Due, Options, Outcome, Result, Webhook
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.storage.engine import (
    ActionStore,
    FanOut,
    ReadingStore,
    ReadPlan,
    ResendingStore,
    Session,
    Work,
    WrittenBatch,
)
from almirant_webhooks.storage.sqlite import deliveries, webhooks
from almirant_webhooks.storage.sqlite.action_store import SqliteActionStore
from almirant_webhooks.storage.sqlite.connection import open_database
from almirant_webhooks.storage.sqlite.delivery_store import SqliteDeliveryStore
from almirant_webhooks.storage.sqlite.outbox import bind, identity, open_outbox
from almirant_webhooks.storage.sqlite.outbox_stores import outbox_store
from almirant_webhooks.storage.sqlite.reading_store import SqliteReadingStore
from almirant_webhooks.storage.sqlite.upkeep_store import SqliteObservingStore, SqlitePruningStore, SqliteResendingStore
from almirant_webhooks.storage.sqlite.worker import Worker

from ...support.fresh import make_database

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SCHEDULE = Schedule((timedelta(0), timedelta(minutes=1), timedelta(minutes=5)))


class SqliteEngine:
    """SQLite, with the outbox in the database's file or apart in another one."""

    def __init__(self, folder: Path, *, apart: bool) -> None:
        self.path, other = folder / "log.db", folder / "outbox.db" if apart else None
        make_database(self.path, other)
        self.outbox_path = other or self.path
        self.session: Session = open_database(self.path)
        self.other_session: Session = open_database(self.path)
        self.outbox_session: Session = open_outbox(self.path, other)
        self.deliveries = SqliteDeliveryStore(self.path)
        opener = functools.partial(open_outbox, self.path, other)
        self.outbox = outbox_store(self.outbox_path, opener if apart else None)
        self.pruning, self.observing = SqlitePruningStore(), SqliteObservingStore(self.path)
        self.actions: ActionStore = SqliteActionStore()
        self.reading: ReadingStore = SqliteReadingStore()
        self.resending: ResendingStore = SqliteResendingStore()
        bind(self.outbox_session, *identity(self.session))
        self.outbox.open()

    def close(self) -> None:
        self.outbox.close()
        for session in (self.session, self.other_session, self.outbox_session):
            session.close()

    def worker(self) -> Worker:
        """A worker that is not open yet."""
        return Worker(lambda: open_database(self.path))

    def webhook(self, now: datetime = START, **fields: Any) -> Webhook:
        """Make a webhook, in a session of others."""
        values: dict[str, Any] = {"project_id": "p", "url": "https://example.com/in", "events": ["*"]}
        values |= {"secret": "s" * 20, "description": "", "limit": 1000, "now": now, **fields}
        with self.deliveries.transaction(self.other_session):
            return webhooks.create(self.other_session, **values)

    def delete(self, webhook: Webhook, now: datetime = START) -> None:
        with self.deliveries.transaction(self.other_session):
            webhooks.delete(self.other_session, webhook.id, now)

    def update(self, webhook: Webhook, options: Options, now: datetime = START) -> None:
        """Change what a webhook was told, in a session of others."""
        with self.deliveries.transaction(self.other_session):
            webhooks.update(self.other_session, webhook.id, options=options, now=now)

    def disable(self, webhook: Webhook, now: datetime = START) -> None:
        with self.deliveries.transaction(self.other_session):
            webhooks.disable(self.other_session, webhook.id, now)

    def test(self, webhook: Webhook, now: datetime = START) -> str:
        """Ask for a test; return its delivery's id."""
        with self.deliveries.transaction(self.other_session):
            return webhooks.request_test(self.other_session, webhook.id, "lead.created", "{}", now)

    def resend(self, delivery_id: str, now: datetime = START) -> None:
        with self.deliveries.transaction(self.other_session):
            deliveries.request_resend(self.other_session, delivery_id, now)

    def insert(self, *projects: str, payload: str = "{}") -> None:
        """Commit an event of each project, as a producer does."""
        with self._as_a_producer() as conn:
            for project in projects or ("p",):
                conn.execute(
                    "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'lead.created', ?)",
                    (project, payload),
                )

    def insert_broken(self) -> None:
        """Commit a row that breaks the rules of the outbox."""
        with self._as_a_producer() as conn:
            conn.execute("PRAGMA ignore_check_constraints=ON")
            conn.execute(
                "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', 'no object')"
            )

    def answers(self) -> list[tuple[bool, str | None]]:
        """Whether each row of the outbox was taken, and why it was rejected."""
        query = "SELECT fanned_out_at IS NOT NULL, rejected_reason FROM outbox ORDER BY id"
        with self._as_a_producer() as conn:
            return [(bool(taken), reason) for taken, reason in conn.execute(query)]

    def attempts(self) -> list[tuple[int, str]]:
        """The number and the outcome of each attempt that has ended, in the order of their recording."""
        rows = self.other_session.execute("SELECT number, outcome FROM attempts ORDER BY rowid")
        return [(row[0], row[1]) for row in rows]

    def refuse_marks(self) -> None:
        """Have an application's trigger refuse to have rows marked."""
        with self._as_a_producer() as conn:
            conn.execute(
                "CREATE TRIGGER no_marks BEFORE UPDATE OF fanned_out_at ON outbox BEGIN SELECT RAISE(ABORT, 'no'); END"
            )

    def drop_tables(self) -> None:
        """Take the tables away, as somebody may by hand."""
        self.other_session.execute("DROP VIEW IF EXISTS attempt_log")
        self.other_session.execute("ALTER TABLE database_meta RENAME TO no_meta")

    @contextmanager
    def locked_outbox(self) -> Iterator[None]:
        """Hold the lock of whoever writes to the outbox."""
        with closing(sqlite3.connect(self.outbox_path, isolation_level=None)) as conn:
            conn.execute("BEGIN IMMEDIATE")
            yield
            conn.execute("ROLLBACK")

    @contextmanager
    def _as_a_producer(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.outbox_path)) as conn, conn:
            yield conn

    # What the loop does with the protocols

    def batch(self, now: datetime = START, **work: Any) -> WrittenBatch:
        """Write a batch in one transaction."""
        with self.deliveries.transaction(self.session):
            return self.deliveries.write(self.session, Work(**work), SCHEDULE, now)

    def read(self, plan: ReadPlan) -> dict[str, Any]:
        """The work of a batch that reads rows: those themselves, where the outbox is apart."""
        return {"to_read": plan} if self.outbox.is_in_database else {"rows": self.outbox.read(plan)}

    def take(self, now: datetime = START, *, plan: ReadPlan | None = None, **work: Any) -> FanOut:
        """Fan out what waits and mark it."""
        done = self.batch(now, **self.read(plan or ReadPlan(100)), **work).fan_out or FanOut()
        if done.marks:
            self.outbox.mark(self.session, [done], now)
        return done

    def claim(self, webhook: Webhook, now: datetime = START, count: int = 10) -> list[Claim]:
        return self.batch(now, starts={webhook.id: count}).begun

    def record(self, claims: Sequence[Claim], outcome: Outcome, at: datetime = START) -> WrittenBatch:
        return self.batch(at, results=[Result(claim, outcome, at, 5) for claim in claims])

    def due(self, webhook: Webhook) -> str | None:
        """When a webhook has its next attempt."""
        due = self.due_of(webhook)
        return None if due is None else due.at

    def due_of(self, webhook: Webhook) -> Due | None:
        """When a webhook has its next attempt, and what it was told."""
        return self.deliveries.first_due_after(self.session, "", 1000)[1].get(webhook.id)


def text(at: datetime) -> str:
    return clock.text(at)


Engine = SqliteEngine  # of which each engine has what is used here

ENGINES: dict[str, Callable[[Path], Engine]] = {
    "SQLite, one file": functools.partial(SqliteEngine, apart=False),
    "SQLite, an outbox apart": functools.partial(SqliteEngine, apart=True),
}
