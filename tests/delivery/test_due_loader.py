"""What the scheduler knows of the database: after a start, and whenever webhooks have changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from almirant_webhooks import clock
from almirant_webhooks.delivery import due_loader
from almirant_webhooks.delivery.due_loader import DueLoader
from almirant_webhooks.delivery.health import Health
from almirant_webhooks.delivery.loop import DeliveryLoop
from almirant_webhooks.delivery.outbox_reader import OutboxReader
from almirant_webhooks.delivery.scheduler import Scheduler
from almirant_webhooks.model import Claim, Outcome, Result, Webhook
from almirant_webhooks.ops.metrics import Metrics
from almirant_webhooks.storage.engine import LastEnd
from almirant_webhooks.storage.sql import results, revisions, webhooks
from almirant_webhooks.storage.sqlite.connection import Connection, open_database, transaction
from almirant_webhooks.storage.sqlite.delivery_store import SqliteDeliveryStore
from almirant_webhooks.storage.sqlite.outbox_stores import OutboxInDatabase
from almirant_webhooks.storage.sqlite.worker import Worker

from ..support.steps import SCHEDULE, START, Steps

pytestmark = pytest.mark.sqlite


def _end(steps: Steps, webhook: Webhook, outcome: Outcome, duration_ms: int) -> None:
    steps.event()
    (claim,) = steps.claim(webhook, START)
    with transaction(steps.conn):
        results.record(steps.conn, [Result(claim, outcome, START, duration_ms)], SCHEDULE)
        steps.conn.execute("UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL")


def load_all(conn: Connection, loaded: DueLoader) -> None:
    loaded.reload(clock.now())
    while loaded.is_busy:
        loaded.step(conn, clock.now())


class Nobody:
    """Makes no request."""

    def prepare(self, claim: Claim) -> Result:
        raise AssertionError(claim)

    def begin(self, *_: object) -> asyncio.Future[object]:
        raise AssertionError


@pytest.fixture
async def worker(steps: Steps) -> AsyncIterator[Worker]:
    """The daemon's connection."""
    opened = await Worker(lambda: open_database(steps.path)).open()
    yield opened
    await opened.close()


async def test_a_restart_knows_who_was_slow_and_who_timed_out(steps: Steps, worker: Worker) -> None:
    """As its last attempt before ended: an interruption tells nothing, and nothing is known of whoever has none."""
    made = {
        "steady": [(Outcome.SUCCESS, 5), (Outcome.SUCCESS, 1500), (Outcome.INTERRUPTED, 9000)],
        "quick": [(Outcome.TIMEOUT, 10_000), (Outcome.HTTP_ERROR, 20)],
        "hangs": [(Outcome.SUCCESS, 5), (Outcome.TIMEOUT, 10_000)],
        "new": [],
    }
    ids = {}
    for name, ends in made.items():
        ids[name] = steps.webhook(url=f"https://{name}.example.com/").id
        for outcome, duration_ms in ends:
            with transaction(steps.conn):
                webhook = webhooks.get(steps.conn, ids[name])
            _end(steps, webhook, outcome, duration_ms)
    scheduler, metrics = Scheduler(256, 8), Metrics()
    store, health = SqliteDeliveryStore(steps.path, worker.lock), Health(metrics)
    reader = OutboxReader(metrics, frozenset(), OutboxInDatabase(steps.path))
    loop = DeliveryLoop(worker, store, Nobody(), reader, metrics, health, SCHEDULE, scheduler, poll_interval=1.0)
    await loop.recover(START)
    assert scheduler.slow == {ids["steady"], ids["hangs"]}
    assert {name: scheduler.free_slots(ids[name]) for name in made} == {"steady": 8, "quick": 8, "hangs": 2, "new": 2}


def test_a_restart_looks_at_the_newest_attempts_alone(steps: Steps) -> None:
    """However long the log is."""
    first, second = steps.webhook(), steps.webhook(url="https://example.com/other")
    _end(steps, first, Outcome.SUCCESS, 1500)
    for _ in range(3):
        _end(steps, second, Outcome.SUCCESS, 5)
    assert results.last_ends(steps.conn, 3) == [LastEnd(second.id, False, 5)]
    assert {end.webhook_id for end in results.last_ends(steps.conn)} == {first.id, second.id}


@pytest.mark.long
async def test_webhooks_are_read_in_parts_of_bounded_size(steps: Steps, worker: Worker) -> None:
    """A part in each round, so that groups are written between them; a change that comes meanwhile is read after it."""
    count = 2 * due_loader.PART + 10
    made = [steps.webhook(url=f"https://example.com/{number}", limit=count) for number in range(count)]
    steps.event()
    scheduler = Scheduler(256, 8)
    loaded, now = DueLoader(scheduler, SqliteDeliveryStore(steps.path, worker.lock)), clock.now()
    await worker.run(load_all, loaded)
    assert len(scheduler.due) == count
    asked: list[int] = []

    def note(statement: str) -> None:
        if "json_each" in statement:
            asked.append(statement.count('"'))

    await worker.run(lambda conn: conn.set_trace_callback(note))
    loaded.reload(now)
    rounds = 0
    while loaded.is_busy:
        if rounds == 1:
            first = min(made, key=lambda webhook: webhook.id)
            with transaction(steps.conn):
                webhooks.disable(steps.conn, first.id, now)
            await worker.run(lambda conn: loaded.reload_if_changed(revisions.revision(conn), now))
        await worker.run(loaded.step, now)
        rounds += 1
    assert rounds == 6
    assert max(asked) <= 2 * due_loader.PART
    assert scheduler.due.keys() == {webhook.id for webhook in made} - {first.id}


async def test_webhooks_that_are_deleted_while_others_are_read_are_forgotten(steps: Steps, worker: Worker) -> None:
    """Nothing of them is due any more."""
    kept, deleted = steps.webhook(), steps.webhook(url="https://example.com/other")
    steps.event()
    scheduler = Scheduler(256, 8)
    loaded = DueLoader(scheduler, SqliteDeliveryStore(steps.path, worker.lock))
    await worker.run(load_all, loaded)
    assert scheduler.due.keys() == {kept.id, deleted.id}
    with transaction(steps.conn):
        webhooks.delete(steps.conn, deleted.id, START)
    await worker.run(lambda conn: loaded.reload_if_changed(revisions.revision(conn), clock.now()))
    await worker.run(loaded.step, clock.now())
    assert scheduler.due.keys() == {kept.id}
