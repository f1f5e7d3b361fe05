"""Rows that an operator deletes or writes by hand: what they belonged to ends or waits, and all else goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.daemon import Daemon
from almirant_webhooks.model import Outcome
from almirant_webhooks.storage.engine import ReadPlan
from almirant_webhooks.storage.sql import claiming, fanout, results, stats, webhooks
from almirant_webhooks.storage.sqlite.unread import read_unread

from ..conftest import Receiver
from ..support.service import Service
from ..support.steps import SCHEDULE, START, Steps, transaction

TABLES = ("events", "webhooks", "attempts", "subscriptions", "webhook_hours", "webhook_failures", "deliveries")


def by_hand(service: Service, statement: str) -> None:
    """Run a statement as `sqlite3 hooks.db`, or `psql`, does."""
    with closing(service.producer()) as conn, conn:
        conn.execute(statement)


@pytest.fixture
async def touched(steps: Steps) -> AsyncIterator[Service]:
    """A database with a delivery that is due, one that was in flight at a crash, and one that is to be resent."""
    webhook = steps.webhook(url="http://127.0.0.1:9/in")
    steps.event()
    resent = steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    steps.event()
    steps.claim(webhook, START)
    steps.event()
    steps.resend(resent.delivery_id, START)
    service = steps.service()
    yield service
    await service.close()


async def _goes_on(service: Service, receiver: Receiver) -> Daemon:
    service.webhook(receiver.url, project="other")
    daemon = await service.start()
    for count in (1, 2):  # the loop rests between them
        service.insert(project="other")
        await service.until(lambda: len(service.log(state="succeeded", project_id="other")) == count)  # noqa: B023
        assert service.read(stats.pending, clock.now())["oldest_due_seconds"] >= 0
    return daemon


@pytest.mark.parametrize("table", TABLES)
async def test_rows_that_were_deleted_by_hand_stop_nobody_else(
    table: str, touched: Service, receiver: Receiver
) -> None:
    """Whichever table they were in; what was in flight is free again, and nothing is tried over and over."""
    by_hand(touched, f"DELETE FROM {table}")
    daemon = await _goes_on(touched, receiver)
    if table != "webhooks":  # nothing is begun for one that is not there
        waits = "SELECT count(*) FROM deliveries WHERE in_flight = 1 OR resend_requested_at IS NOT NULL OR next_attempt_at <= ?"
        await touched.until(
            lambda: touched.read(lambda conn: conn.execute(waits, (clock.text(clock.now()),)).fetchone()[0] == 0)
        )
    assert daemon.not_ready() is None
    assert touched.read(stats.pending, clock.now())["due"] == 0


async def write_by_hand(change: str, touched: Service, receiver: Receiver) -> None:
    """Change values, and hold that others go on."""
    by_hand(touched, f"UPDATE {change}")
    daemon = await _goes_on(touched, receiver)
    assert daemon.not_ready() is None
    assert [row["project_id"] for row in touched.log(state="succeeded") if row["project_id"] == "other"] == [
        "other"
    ] * 2


@pytest.mark.parametrize(
    "change",
    [
        "deliveries SET begun = 0, attempts = 0, tries = 0, last_number = NULL, state = 'pending', next_attempt_at = created_at",
        "webhooks SET url = 'http://[bad'",
        "webhooks SET url = 'http://127.0.0.1:x/'",
    ],
)
async def test_values_that_were_written_by_hand_stop_nobody_else(
    change: str, touched: Service, receiver: Receiver
) -> None:
    """Counts that were set back, a URL that is none."""
    await write_by_hand(change, touched, receiver)


@pytest.mark.sqlite
@pytest.mark.parametrize("time", ["soon", "1763888400", ""])
async def test_times_that_are_none_stop_nobody_else(time: str, touched: Service, receiver: Receiver) -> None:
    """SQLite takes any text there."""
    await write_by_hand(f"deliveries SET next_attempt_at = '{time}' WHERE state = 'pending'", touched, receiver)


def test_a_delivery_whose_event_is_gone_is_cancelled_and_says_so(steps: Steps) -> None:
    """The others that were chosen with it begin, each with its own event."""
    webhook = steps.webhook()
    for _ in range(3):
        steps.event()
    ids = [row[0] for row in steps.conn.execute("SELECT id FROM deliveries ORDER BY event_seq")]
    (seq,) = steps.conn.execute("SELECT event_seq FROM deliveries WHERE id = ?", (ids[1],)).fetchone()
    steps.conn.execute("DELETE FROM events WHERE seq = ?", (seq,))
    gone: list[str] = []
    with transaction(steps.conn):
        claims = claiming.claim(steps.conn, {webhook.id: 10}, START, gone=gone)
    assert ([one.delivery_id for one in claims], gone) == ([ids[0], ids[2]], [ids[1]])
    assert all(f'"{one.event_id}"' in one.body.decode() for one in claims)
    row = steps.conn.execute("SELECT state, next_attempt_at, cancelled_reason FROM deliveries WHERE id = ?", (ids[1],))
    assert tuple(row.fetchone()) == ("cancelled", None, "its event is gone from the database")


@pytest.mark.sqlite
def test_no_delivery_is_sent_with_an_event_that_took_the_number_of_its_own(steps: Steps) -> None:
    """SQLite would give the number of the newest event again once that was deleted by hand, to whichever project's is next."""
    webhook = steps.webhook()
    other = steps.webhook(project_id="other", url="https://example.com/other")
    steps.event()
    steps.conn.execute("DELETE FROM events")
    steps.outbox.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('other', 'lead.created', '{}')")
    with transaction(steps.conn):
        fanout.fan_out(steps.conn, read_unread(steps.outbox, ReadPlan(10)), SCHEDULE.waits[0], START)
        webhooks.request_test(steps.conn, other.id, "lead.created", "{}", START)
    assert [row[0] for row in steps.conn.execute("SELECT seq FROM events ORDER BY seq")] == [2, 3]
    steps.conn.execute("UPDATE events SET seq = 1 WHERE seq = 2")  # as an earlier release did
    assert steps.claim(webhook, START) == []


def test_an_attempt_whose_row_is_gone_ends_at_a_restart(steps: Steps) -> None:
    """As interrupted, for the schedule or the resend that it was made for; the next attempt has the next number."""
    webhook = steps.webhook()
    steps.event()
    steps.claim(webhook, START)
    steps.conn.execute("DELETE FROM attempts")
    with transaction(steps.conn):
        assert results.interrupt_open(steps.conn, SCHEDULE, START) == 1
    (claim,) = steps.claim(webhook, START + timedelta(minutes=1))
    assert claim.number == 2
