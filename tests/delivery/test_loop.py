"""The loop as a whole: nobody waits for another webhook of the same project, and no end of the loop leaves anything behind."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from almirant_webhooks.daemon import Daemon
from almirant_webhooks.delivery.pace import LEAST
from almirant_webhooks.delivery.scheduler import LIMIT_UNPROVEN
from almirant_webhooks.model import Misconfigured, Outcome, Result
from almirant_webhooks.sending import causes

from ..conftest import Receiver
from ..support.service import Service
from ..support.steps import START, Steps, transaction

MANY = 400
WAITING = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"


async def _hang_for(receiver: Receiver, kind: str) -> asyncio.Event:
    """Have requests of one type wait until the event is set."""
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if json.loads(await request.read())["type"] == kind:
            await go_on.wait()
        return web.Response()

    receiver.answer = answer
    return go_on


@pytest.mark.long
async def test_a_webhook_that_hangs_is_in_no_way_of_others_in_its_project(
    service_anywhere: Service, receiver: Receiver
) -> None:
    """However many events wait for it in front of theirs."""
    service = service_anywhere
    service.options["delivery"] = {"timeout": "60s"}
    await service.start()
    go_on = await _hang_for(receiver, "deal.closed")
    hanging = service.webhook(receiver.url, "deal.closed")
    quick = service.webhook(receiver.url + "/quick", "lead.created")
    service.insert(*({"n": number} for number in range(MANY)), kind="deal.closed")
    service.insert(*({"n": number} for number in range(20)), kind="lead.created")
    await service.until(lambda: len(service.log(webhook_id=quick.id, state="succeeded", limit=100)) == 20)
    await service.until(lambda: service.ask(WAITING)[0] == 0)
    expected = {"lead.created": 20, "deal.closed": LIMIT_UNPROVEN}
    await service.until(lambda: Counter(json.loads(request.body)["type"] for request in receiver.requests) == expected)
    assert len(service.log(webhook_id=hanging.id, state="pending", limit=2 * MANY)) == MANY
    go_on.set()
    await service.stop()


@pytest.mark.long
@pytest.mark.parametrize("concurrency", [1, 256])
async def test_events_are_fanned_out_though_none_begins_at_once(service: Service, concurrency: int) -> None:
    """With a first wait in the schedule nothing begins with its insertion."""
    service.options["delivery"] = {"retry_schedule": ["10m", "10m"], "concurrency": concurrency}
    await service.start()
    service.webhook("http://127.0.0.1:9/", "*")
    service.insert(*({"n": number} for number in range(MANY)))
    await service.until(lambda: service.ask(WAITING)[0] == 0)
    assert len(service.log(state="pending", limit=2 * MANY)) == MANY


@pytest.mark.long
async def test_a_wait_for_the_file_s_lock_makes_the_next_batches_no_smaller(tmp_path: Path) -> None:
    """A smaller batch waits as long: beside producers that commit without a rest each one would be smaller than the last."""
    service = Service(tmp_path / "hooks.db", tmp_path / "outbox.db")
    service.options["delivery"] = {"retry_schedule": ["10m", "10m"]}
    service.migrate()
    daemon = await service.start()
    service.webhook("http://127.0.0.1:9/", "*")
    await service.until_upkeep_rests()
    fan_outs = "almirant_webhooks_fan_out_seconds_count"
    value = daemon.metrics.registry.get_sample_value
    with closing(sqlite3.connect(service.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        service.insert(*({"n": number} for number in range(LEAST)))
        await service.until(lambda: daemon.loop.is_writing)
        locked_until = time.monotonic() + 1
        await service.until(lambda: time.monotonic() >= locked_until)
        other.rollback()
    await service.until(lambda: service.ask(WAITING)[0] == 0)
    assert len(service.log(state="pending", limit=MANY)) == LEAST
    before = await service.between_batches(lambda: value(fan_outs)) or 0.0
    service.insert(*({"n": number} for number in range(MANY)))
    await service.until(lambda: len(service.log(state="pending", limit=2 * MANY)) == MANY + LEAST)
    assert (value(fan_outs) or 0.0) - before < MANY / LEAST / 3
    await service.close()


async def _let_it_step(daemon: Daemon) -> None:
    """Have the loop look for rows anew, and let it take a step after that."""
    daemon.loop.look()
    for _ in range(3):
        await daemon.loop.worker.run(lambda _: None)


def _counted(daemon: Daemon) -> tuple[float | None, float | None]:
    """How many rows were taken as events, and how many as duplicates of them."""
    value = daemon.metrics.registry.get_sample_value
    return value("almirant_webhooks_events_taken_total"), value("almirant_webhooks_events_duplicate_total")


@pytest.mark.long
async def test_each_row_is_read_once(service_anywhere: Service, receiver: Receiver) -> None:
    """It is marked once its event is taken, wherever the outbox is."""
    service = service_anywhere
    daemon = await service.start()
    service.webhook(receiver.url)
    for count in range(1, 4):
        service.insert({"n": count})
        await service.until(lambda: len(service.log(state="succeeded")) == count)  # noqa: B023
    await service.until(lambda: service.ask(WAITING)[0] == 0)
    await _let_it_step(daemon)
    assert _counted(daemon) == (3, 0)


@pytest.mark.sqlite
async def test_rows_whose_marks_wait_are_not_read_again(service: Service, receiver: Receiver, tmp_path: Path) -> None:
    """A producer has the outbox locked: what was read of it is delivered, and is not taken for news."""
    service.outbox = tmp_path / "outbox.db"
    daemon = await service.start()
    service.webhook(receiver.url)
    producer = sqlite3.connect(service.outbox, isolation_level=None, check_same_thread=False)

    def insert_and_lock(_: sqlite3.Connection) -> None:
        service.insert({"n": 1}, {"n": 2})
        producer.execute("BEGIN IMMEDIATE")

    await daemon.loop.worker.run(insert_and_lock)  # in the delivery thread, which reads nothing in between
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    assert service.ask(WAITING)[0] == 2
    reader = daemon.loop.reader
    await service.between_batches(reader.force_read)  # as after a commit
    while await service.between_batches(lambda: reader.may_have_rows) and _counted(daemon) == (2, 0):
        await asyncio.sleep(0.005)
    producer.execute("ROLLBACK")
    producer.close()
    await service.until(lambda: service.ask(WAITING)[0] == 0)
    await service.until(lambda: _counted(daemon) == (2, 0))


@pytest.mark.long
async def test_each_project_has_its_turn_however_many_deliveries_another_has_due(
    service: Service, receiver: Receiver
) -> None:
    """With one slot the next of a project comes after one of each other project."""
    service.options["delivery"] = {"concurrency": 1}
    go_on = await _hang_for(receiver, "lead.created")
    projects = {f"proj_{number}" for number in range(5)}
    service.migrate()
    for project in projects:
        service.webhook(f"{receiver.url}/{project}", project=project)
        service.insert(*({"n": number} for number in range(10)), project=project, kind="lead.created")
    await service.start()
    await service.until(lambda: service.ask(WAITING)[0] == 0)
    go_on.set()
    await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 50)
    turns = [request.path.rpartition("/")[2] for request in receiver.requests]
    for begin in range(1, 41):
        assert set(turns[begin : begin + 5]) == projects, turns


async def test_an_attempt_that_is_lost_while_the_daemon_stops_is_recorded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing route is held back for a second to tell whose fault it was; a stop has no such second."""
    daemon = await service.start()
    service.webhook("http://127.0.0.1:9/", "*")
    under_way = []

    def begin(prepared: object, ended: object) -> asyncio.Future[object]:
        under_way.append((prepared, ended))
        return asyncio.get_running_loop().create_future()

    monkeypatch.setattr(daemon.loop.attempts._sender, "begin", begin)
    service.insert()
    await service.until(lambda: bool(under_way))
    stop = asyncio.create_task(service.stop())
    await asyncio.sleep(0)
    # The thread is busy with somebody else's work when the attempt ends.
    daemon.loop.worker.call(lambda _: time.sleep(0.2))
    (prepared, ended), *_ = under_way
    ended(Result(prepared.claim, Outcome.CONNECTION_ERROR, datetime.now(UTC), 5, cause=causes.NO_ROUTE))  # type: ignore[attr-defined, operator]
    await stop
    assert service.ask("SELECT in_flight, attempts FROM deliveries") == (0, 1)


@pytest.mark.sqlite
async def test_damage_that_a_stop_meets_leaves_nothing_open(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentence is raised once everything is closed."""
    daemon = await service.start()

    def damaged(_: sqlite3.Connection) -> None:
        raise Misconfigured("the database is damaged")

    monkeypatch.setattr(daemon.loop, "_record_rest", damaged)
    service.daemon = None
    with pytest.raises(Misconfigured, match="damaged"):
        await daemon.stop()
    for worker in daemon.storage.workers:
        worker._thread.join(10)  # type: ignore[attr-defined]
    assert not any(worker.is_alive for worker in daemon.storage.workers)


@pytest.mark.sqlite
async def test_an_outbox_that_an_application_locks_right_after_the_start_ends_no_daemon(
    service: Service, receiver: Receiver, tmp_path: Path
) -> None:
    """In rollback-journal mode nobody else can even read it; it is delivered from once the lock is gone."""
    service.outbox = tmp_path / "app.db"
    service.make_application("DELETE")
    service.migrate()
    daemon = await service.start(migrating=False)
    service.webhook(receiver.url, "*")
    application = service.producer()
    application.execute("BEGIN EXCLUSIVE")
    application.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')")
    daemon.loop.look()
    application.execute("COMMIT")
    application.close()
    await service.until(lambda: service.log(state="succeeded"))


def test_an_attempt_of_a_number_that_is_in_the_log_already_stops_no_batch(steps: Steps) -> None:
    """Somebody has edited the log by hand: what is there stays, and the delivery goes on."""
    webhook = steps.webhook()
    steps.event()
    (claim,) = steps.claim(webhook, START)
    with transaction(steps.conn):
        steps.conn.execute(
            "INSERT INTO attempts (delivery_id, number, trigger, started_at, outcome, url, request_headers)"
            " VALUES (?, 1, 'scheduled', '2026-11-23T09:00:00.000Z', 'success', 'https://example.com/', '{}')",
            (claim.delivery_id,),
        )
    steps.record(claim, Outcome.SUCCESS, START)
    assert steps.only()["state"] == "succeeded"
