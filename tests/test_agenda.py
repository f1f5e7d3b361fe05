"""What the scheduler knows of the database: after a start, and whenever webhooks have changed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from almirant_webhooks import agenda, clock
from almirant_webhooks.agenda import Agenda
from almirant_webhooks.db import results, webhooks
from almirant_webhooks.db.connection import open_database, transaction
from almirant_webhooks.db.results import LastEnd
from almirant_webhooks.db.worker import Worker
from almirant_webhooks.fairness import Shares
from almirant_webhooks.model import Outcome, Result, Webhook

from .steps import SCHEDULE, START, Steps


def _end(steps: Steps, webhook: Webhook, outcome: Outcome, duration_ms: int) -> None:
    steps.event()
    (claim,) = steps.claim(webhook, START)
    with transaction(steps.conn):
        results.record(steps.conn, [Result(claim, outcome, START, duration_ms)], SCHEDULE)
        steps.conn.execute("UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL")


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
    shares = Shares(256, 8)
    loaded = Agenda(worker, shares, SCHEDULE, lambda: None)
    await loaded.recover(START)
    assert shares.slow == {ids["steady"], ids["hangs"]}
    assert {name: shares.room_of(ids[name]) for name in made} == {"steady": 8, "quick": 8, "hangs": 2, "new": 2}


def test_a_restart_looks_at_the_newest_attempts_alone(steps: Steps) -> None:
    """However long the log is."""
    first, second = steps.webhook(), steps.webhook(url="https://example.com/other")
    _end(steps, first, Outcome.SUCCESS, 1500)
    for _ in range(3):
        _end(steps, second, Outcome.SUCCESS, 5)
    assert results.last_ends(steps.conn, 3) == [LastEnd(second.id, False, 5)]
    assert {end.webhook_id for end in results.last_ends(steps.conn)} == {first.id, second.id}


async def test_webhooks_are_read_in_parts_of_bounded_size(steps: Steps, worker: Worker) -> None:
    """A part in each round, so that groups are written between them; a change that comes meanwhile is read after it."""
    count = 2 * agenda.PART + 10
    made = [steps.webhook(url=f"https://example.com/{number}", limit=count) for number in range(count)]
    steps.event()
    shares = Shares(256, 8)
    loaded = Agenda(worker, shares, SCHEDULE, lambda: None)
    now = clock.now()
    await loaded.recover(now)
    assert len(shares.due) == count
    asked: list[int] = []

    def note(statement: str) -> None:
        if "json_each" in statement:
            asked.append(statement.count('"'))

    await worker.run(lambda conn: conn.set_trace_callback(note))
    loaded.reload(now)
    rounds = 0
    while loaded._after is not None:
        if rounds == 1:
            first = min(made, key=lambda webhook: webhook.id)
            with transaction(steps.conn):
                webhooks.disable(steps.conn, first.id, now)
            await loaded.look()
        await loaded.mind_the_clock(now)
        rounds += 1
    assert rounds == 6
    assert max(asked) <= 2 * agenda.PART
    assert shares.due.keys() == {webhook.id for webhook in made} - {first.id}


async def test_webhooks_that_are_deleted_while_others_are_read_are_forgotten(steps: Steps, worker: Worker) -> None:
    """Nothing of them is due any more."""
    kept, deleted = steps.webhook(), steps.webhook(url="https://example.com/other")
    steps.event()
    shares = Shares(256, 8)
    loaded = Agenda(worker, shares, SCHEDULE, lambda: None)
    await loaded.recover(START)
    with transaction(steps.conn):
        webhooks.delete(steps.conn, deleted.id, START)
    await loaded.look()
    await loaded.mind_the_clock(clock.now())
    assert shares.due.keys() == {kept.id}
