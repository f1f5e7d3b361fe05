"""The engines that the tests run over. A new one is registered here, with what only it knows: making, breaking and locking."""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, Due, Options, Outcome, Result, Webhook
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.storage import worker
from almirant_webhooks.storage.engine import (
    ActionStore,
    DeliveryStore,
    FanOut,
    ObservingStore,
    OutboxStore,
    PruningStore,
    ReadingStore,
    ReadPlan,
    ResendingStore,
    Session,
    Work,
    WrittenBatch,
)
from almirant_webhooks.storage.mixed.service import identity_of
from almirant_webhooks.storage.mixed.stores import (
    MixedActionStore,
    MixedObservingStore,
    MixedPruningStore,
    MixedReadingStore,
)
from almirant_webhooks.storage.postgres.listener import Listener
from almirant_webhooks.storage.postgres.opening import open_bound
from almirant_webhooks.storage.postgres.store import OutboxInPostgres
from almirant_webhooks.storage.sql import deliveries, webhooks
from almirant_webhooks.storage.sqlite.action_store import SqliteActionStore
from almirant_webhooks.storage.sqlite.connection import open_database
from almirant_webhooks.storage.sqlite.delivery_store import SqliteDeliveryStore
from almirant_webhooks.storage.sqlite.outbox import bind, identity, open_outbox
from almirant_webhooks.storage.sqlite.outbox_stores import outbox_store
from almirant_webhooks.storage.sqlite.reading_store import SqliteReadingStore
from almirant_webhooks.storage.sqlite.upkeep_store import SqliteObservingStore, SqlitePruningStore, SqliteResendingStore
from almirant_webhooks.storage.sqlite.worker import Worker

from ...support.fresh import make_database
from ...support.postgres import Outbox, new_database

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
        self.deliveries: DeliveryStore = SqliteDeliveryStore(self.path)
        opener = functools.partial(open_outbox, self.path, other)
        self.outbox: OutboxStore = outbox_store(self.outbox_path, opener if apart else None)
        self.pruning: PruningStore = SqlitePruningStore()
        self.observing: ObservingStore = SqliteObservingStore(self.path)
        self.actions: ActionStore = SqliteActionStore()
        self.reading: ReadingStore = SqliteReadingStore()
        self.resending: ResendingStore = SqliteResendingStore()
        bind(self.outbox_session, *identity(self.session))
        self.outbox.open()

    def close(self) -> None:
        self.outbox.close()
        for session in (self.session, self.other_session, self.outbox_session):
            session.close()

    def worker(self) -> worker.Worker:
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

    def enlarge(self, row: int, size: int) -> None:
        """Give a row a payload of a size that no event may have."""
        with self._as_a_producer() as conn:
            conn.execute("PRAGMA ignore_check_constraints=ON")
            conn.execute("UPDATE outbox SET payload = ? WHERE id = ?", ("x" * size, row))

    def change(self, column: str, value: str | None) -> None:
        """Change all rows, as their producer may."""
        with self._as_a_producer() as conn:
            conn.execute(f"UPDATE outbox SET {column} = ?", (value,))

    def answers(self) -> list[tuple[bool, str | None]]:
        """Whether each row of the outbox was taken, and why it was rejected."""
        query = "SELECT fanned_out_at IS NOT NULL, rejected_reason FROM outbox ORDER BY id"
        with self._as_a_producer() as conn:
            return [(bool(taken), reason) for taken, reason in conn.execute(query)]

    def attempts(self) -> list[tuple[int, str]]:
        """The number and the outcome of each attempt that has ended, in the order of their recording."""
        rows = self.other_session.execute("SELECT number, outcome FROM attempts ORDER BY rowid")
        return [(row[0], row[1]) for row in rows]

    def payloads(self) -> list[str]:
        """The payload of each row of the outbox."""
        with self._as_a_producer() as conn:
            return [payload for (payload,) in conn.execute("SELECT payload FROM outbox ORDER BY id")]

    def refuse_marks(self, row: int | None = None) -> None:
        """Have an application's trigger refuse to have rows marked, or one of them."""
        which = "" if row is None else f"WHEN NEW.id = {row}"
        with self._as_a_producer() as conn:
            conn.execute(
                f"CREATE TRIGGER no_marks BEFORE UPDATE OF fanned_out_at ON outbox {which} "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )

    def keep_rows(self) -> None:
        """Have an application's trigger refuse to have rows deleted."""
        with self._as_a_producer() as conn:
            conn.execute("CREATE TRIGGER keeps BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'kept'); END")

    def delete_event(self, number: int) -> str:
        """Delete an event as an operator may by hand; return its id."""
        with self.deliveries.transaction(self.other_session):
            ids = [row[0] for row in self.other_session.execute("SELECT id FROM events ORDER BY seq")]
            self.other_session.execute("DELETE FROM events WHERE id = ?", (ids[number - 1],))
        return str(ids[number - 1])

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


class PostgresOutbox:
    """What a producer, an application and others do to an outbox in PostgreSQL."""

    there: Outbox

    def committed(self) -> None:
        """Wait until the engine knows of a commit."""

    def insert(self, *projects: str, payload: str = "{}") -> None:
        values = [(project, payload) for project in projects or ("p",)]
        insert = "INSERT INTO outbox (project_id, event_type, payload) VALUES (%s, 'lead.created', %s)"
        with self.there.connect() as conn, conn.cursor() as cursor:
            cursor.executemany(insert, values)
        self.committed()

    def insert_broken(self) -> None:
        self.there.ask("ALTER TABLE outbox DROP CONSTRAINT IF EXISTS outbox_payload")
        self.insert(payload="no object")

    def enlarge(self, row: int, size: int) -> None:
        self.there.ask("UPDATE outbox SET payload = repeat('x', %s) WHERE id = %s", size, row)

    def change(self, column: str, value: str | None) -> None:
        self.there.ask(f"UPDATE outbox SET {column} = %s", value)

    def answers(self) -> list[tuple[bool, str | None]]:
        rows = self.there.ask("SELECT fanned_out_at IS NOT NULL, rejected_reason FROM outbox ORDER BY id")
        return [(taken, reason) for taken, reason in rows]

    def payloads(self) -> list[str]:
        return [payload for (payload,) in self.there.ask("SELECT payload FROM outbox ORDER BY id")]

    def refuse_marks(self, row: int | None = None) -> None:
        which = "" if row is None else f"WHEN (NEW.id = {row})"
        self.there.ask(
            "CREATE FUNCTION no_marks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$"
        )
        self.there.ask(
            f"CREATE TRIGGER no_marks BEFORE UPDATE OF fanned_out_at ON outbox FOR EACH ROW {which} EXECUTE FUNCTION no_marks()"
        )

    def keep_rows(self) -> None:
        self.there.ask(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept'; END $$"
        )
        self.there.ask("CREATE TRIGGER keeps BEFORE DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION keep()")

    @contextmanager
    def locked_outbox(self) -> Iterator[None]:
        with self.there.connect() as conn:
            conn.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
            yield


class PostgresOutboxEngine(PostgresOutbox, SqliteEngine):
    """SQLite with the outbox apart in PostgreSQL."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, apart=False)
        self.outbox.close()
        self.outbox_session.close()
        self.there = new_database()
        self.outbox_session = open_bound(self.there.place, functools.partial(identity_of, self.path))
        store = OutboxInPostgres(
            functools.partial(open_bound, self.there.place, functools.partial(identity_of, self.path)), patience=60
        )
        self.outbox, self.actions, self.reading = store, MixedActionStore(), MixedReadingStore()
        self.pruning, self.observing = MixedPruningStore(), MixedObservingStore(self.path)
        self._heard = threading.Semaphore(0)

        def hear() -> None:
            store.note_commit()
            self._heard.release()

        self._listener = Listener(self.there.place, hear)
        self._listener.start()
        self._heard.acquire()  # it listens from now on
        self.outbox.open()

    def close(self) -> None:
        self._listener.stop()
        self._listener.join()
        super().close()

    def committed(self) -> None:
        self._heard.acquire()


def text(at: datetime) -> str:
    return clock.text(at)


Engine = SqliteEngine  # of which each engine has what is used here

ENGINES: dict[str, Callable[[Path], Engine]] = {
    "SQLite, one file": functools.partial(SqliteEngine, apart=False),
    "SQLite, an outbox apart": functools.partial(SqliteEngine, apart=True),
    "SQLite, an outbox in PostgreSQL": PostgresOutboxEngine,
}
