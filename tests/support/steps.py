"""The steps of an event's way, called alone with the time passed in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, Outcome, Result, Webhook
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.settings.schema import Settings
from almirant_webhooks.storage.engine import BEGIN, FanOut, Moved, OutboxRow, Place, ReadPlan
from almirant_webhooks.storage.sql import claiming, deliveries, fanout, results, search, waits, webhooks
from almirant_webhooks.storage.sql.session import Session
from almirant_webhooks.storage.sqlite import connection as sqlite
from almirant_webhooks.storage.sqlite import inside, outbox, rejected_rows, unread

from .fresh import make_database
from .service import Service

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SCHEDULE = Schedule(Settings().delivery.retry_schedule)
ALL = ReadPlan(100)


def transaction(conn: Any) -> AbstractContextManager[object]:
    """Return a write transaction on a session of either engine."""
    if isinstance(conn, sqlite3.Connection):
        return sqlite.transaction(conn)
    from almirant_webhooks.storage.postgres.database_session import writing

    return writing(conn)


def new_numbers(conn: Session, count: int) -> list[int]:
    """Take numbers for events that a test inserts by itself, as a fan-out takes them: it gets none of these later."""
    return sorted(number for (number,) in conn.read_rows(conn.event_numbers, None, json.dumps([0] * count)))


class Steps:
    """The steps of an event's way, each called alone with its own `now`."""

    def __init__(self, path: Path, outbox_path: Path | None = None) -> None:
        make_database(path, outbox_path)
        self.path, self._outbox_path = path, outbox_path
        self._open()
        # What each engine does in its own way.
        self.outbox_part: Any = outbox
        self.rejected_part: Any = rejected_rows
        self.inside: Any = inside
        self.row_order = "rowid"  # of rows that were only inserted
        self.refusal: type[Exception] = sqlite3.IntegrityError

    def _open(self) -> None:
        self.conn: Any = sqlite.open_database(self.path)
        self.outbox: Any = outbox.open_outbox(self.path, self._outbox_path)

    def close(self) -> None:
        self.conn.close()
        self.outbox.close()

    def restart(self) -> None:
        """Go on with other sessions, as after a crash, and bind the outbox."""
        self.conn.close()
        self.outbox.close()
        self._open()
        self.bind()

    def bind(self) -> None:
        """Bind the outbox to the database, as a start does."""
        outbox.bind(self.outbox, *outbox.identity(self.conn))

    def service(self) -> Service:
        """Return a daemon on this database, which is not started yet."""
        return Service(self.path)

    def reopen(self) -> None:
        """Go on with another session, as a new process does."""
        self.conn.close()
        self.conn = sqlite.open_database(self.path)

    def insert(
        self, event_type: str = "lead.created", payload: str = "{}", event_id: str | None = None, project: str = "p"
    ) -> None:
        """Insert an event as `event send` does."""
        self.outbox_part.insert(
            self.outbox, project_id=project, event_type=event_type, payload=payload, event_id=event_id
        )

    def insert_with_number(self, number: int, event_id: str, payload: str) -> None:
        """Insert an event into a place of the outbox, in a transaction that is open."""
        self.outbox.execute(
            "INSERT INTO outbox (id, event_id, project_id, event_type, payload) VALUES (?, ?, 'p', 'lead.created', ?)",
            (number, event_id, payload),
        )

    def unread(self, plan: ReadPlan = ALL) -> list[OutboxRow]:
        """Return rows that wait."""
        return unread.read_unread(self.outbox, plan)

    def mark(self, done: FanOut, now: datetime = START) -> None:
        """Mark what was taken."""
        with transaction(self.outbox):
            outbox.mark(self.outbox, done.marks, done.batch, clock.text(now))

    def prune(self, before: datetime, limit: int) -> None:
        """Remove rows of the outbox that were answered before a time."""
        with transaction(self.outbox):
            self.outbox_part.prune(self.outbox, clock.text(before), limit)
            self.rejected_part.Sweep(clock.text(before)).step(self.outbox, limit)

    def webhook(self, **fields: Any) -> Webhook:
        values: dict[str, Any] = {"project_id": "p", "url": "https://example.com/in", "events": ["*"]}
        values |= {"secret": "s" * 20, "description": "", "limit": 100, "now": START, **fields}
        with transaction(self.conn):
            return webhooks.create(self.conn, **values)

    def event(self, now: datetime = START, kind: str = "lead.created", payload: str = "{}") -> FanOut:
        self.insert(kind, payload)
        rows = self.unread()
        with transaction(self.conn):
            done = fanout.fan_out(self.conn, rows, SCHEDULE.waits[0], now)
        self.mark(done, now)
        return done

    def claim(self, webhook: Webhook, now: datetime) -> list[Claim]:
        with transaction(self.conn):
            return claiming.claim(self.conn, {webhook.id: 10}, now)

    def record(self, claim: Claim, outcome: Outcome, at: datetime, **more: Any) -> int:
        with transaction(self.conn):
            return results.record(self.conn, [Result(claim, outcome, at, 5, **more)], SCHEDULE)

    def attempt(self, webhook: Webhook, now: datetime, outcome: Outcome, **more: Any) -> Claim:
        (claim,) = self.claim(webhook, now)
        self.record(claim, outcome, now, **more)
        return claim

    def resend(self, delivery_id: str, now: datetime) -> bool:
        with transaction(self.conn):
            return deliveries.request_resend(self.conn, delivery_id, now)

    def shift_due(self, by: timedelta, now: datetime) -> int:
        return self._in_steps(lambda place: waits.shift_due(self.conn, by, now, place))

    def shorten_waits(self, now: datetime) -> int:
        return self._in_steps(lambda place: waits.shorten(self.conn, SCHEDULE.waits, now, place))

    def _in_steps(self, step: Callable[[Place], Moved]) -> int:
        count, place = 0, BEGIN
        while True:
            with transaction(self.conn):
                moved = step(place)
            count += moved.shorter
            if moved.reached is None:
                return count
            place = moved.reached

    def only(self) -> dict[str, Any]:
        (row,) = search.newest(self.conn)
        return dict(row)
