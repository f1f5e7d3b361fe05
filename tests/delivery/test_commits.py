"""Commits: a batch's requests are prepared while it is committed, and made only after that."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import weakref
from collections.abc import Callable
from itertools import dropwhile

import pytest
from aiohttp import web

from almirant_webhooks.daemon import Daemon
from almirant_webhooks.delivery.batch import Batch
from almirant_webhooks.storage.engine import FanOut

from ..conftest import Receiver
from ..support.service import Service

pytestmark = pytest.mark.sqlite


class Commits:
    """Has SQLite refuse COMMITs on the daemon's connection, as a disk may: each, or those of which `is_meant` says so in its thread."""

    def __init__(self, daemon: Daemon, is_meant: Callable[[], bool] = lambda: True) -> None:
        self.refused = 0
        self._is_meant = is_meant
        self._database = daemon.loop.worker

    def _decide(self, action: int, what: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT" and self._is_meant():
            self.refused += 1
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    async def refuse(self) -> None:
        await self._database.run(lambda conn: conn.set_authorizer(self._decide))

    async def allow(self) -> None:
        await self._database.run(lambda conn: conn.set_authorizer(None))


@pytest.mark.long
async def test_a_batch_whose_commit_fails_sends_nothing_and_loses_nothing(
    service_anywhere: Service, receiver: Receiver
) -> None:
    """No request leaves of which the database does not know; its slots and its rows are free again."""
    service = service_anywhere
    if service.outbox is None or not service.outbox.exists():
        service.migrate()
    daemon = await service.start()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))  # its connection is kept
    commits = Commits(daemon)
    await commits.refuse()
    service.insert({"n": 1}, {"n": 2})
    await service.until(lambda: commits.refused >= 3 and daemon.not_ready())
    assert len(receiver.requests) == 1
    await service.until(lambda: (daemon.loop.in_flight, daemon.loop.scheduler.in_flight.total()) == (0, 0))
    gauge = "almirant_webhooks_attempts_in_flight"
    assert daemon.metrics.registry.get_sample_value(gauge) == 0
    await commits.allow()
    await service.until(lambda: len(service.log(state="succeeded")) == 3)
    assert len(receiver.requests) == 3
    assert {row["attempts"] for row in service.log()} == {1}
    unread = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"
    await service.until(lambda: service.ask(unread) == (0,))
    assert not await service.between_batches(daemon.not_ready)


async def test_no_request_is_made_while_its_batch_is_committed(service: Service, receiver: Receiver) -> None:
    """However long the disk takes: it is prepared, and waits."""
    daemon = await service.start()
    service.webhook(receiver.url)
    loop = asyncio.get_running_loop()
    before_the_commit: list[int] = []

    async def look() -> bool:
        if not service.log():  # the database does not know of the delivery yet
            for _ in range(10):  # whatever was handed over to the event loop has its turn
                await asyncio.sleep(0)
                before_the_commit.append(daemon.loop.in_flight + len(receiver.requests))
        return False

    commits = Commits(daemon, lambda: asyncio.run_coroutine_threadsafe(look(), loop).result())
    await commits.refuse()
    # In the delivery thread, between two batches: neither waits for the other.
    await daemon.loop.worker.run(lambda _: service.insert())
    await service.until(lambda: service.log(state="succeeded"))
    assert set(before_the_commit) == {0}


@pytest.mark.long
async def test_answers_whose_commit_fails_are_recorded_by_a_later_one(service: Service, receiver: Receiver) -> None:
    """Nobody is asked twice."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slowly(_: web.Request) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response(text="late")

    receiver.answer = slowly
    daemon = await service.start()
    service.webhook(receiver.url)
    service.insert()
    await arrived.wait()
    commits = Commits(daemon)
    await commits.refuse()
    release.set()
    await service.until(lambda: commits.refused >= 2)
    await commits.allow()
    await service.until(lambda: service.log(state="succeeded"))
    (attempt,) = service.detail(service.log()[0]["delivery_id"])["attempt_list"]
    assert (attempt["outcome"], attempt["response_body"]) == ("success", "late")
    assert len(receiver.requests) == 1


@pytest.mark.long
async def test_a_request_that_is_refused_without_being_made_waits_for_the_commit_too(service: Service) -> None:
    """What became of an attempt is recorded once, after its beginning."""
    service.options["egress"] = {}
    daemon = await service.start()
    service.webhook("http://localhost/in")
    commits = Commits(daemon)
    await commits.refuse()
    service.insert()
    await service.until(lambda: commits.refused >= 2 and daemon.loop.scheduler.in_flight.total() == 0)
    await commits.allow()
    await service.until(lambda: service.log(status="blocked"))
    assert [row["attempts"] for row in service.log()] == [1]


@pytest.mark.long
async def test_trouble_is_not_over_because_a_commit_is_under_way(service: Service, receiver: Receiver) -> None:
    """However long it takes until it fails: `/readyz` says so until one has succeeded."""
    daemon = await service.start()
    service.webhook(receiver.url)
    loop = asyncio.get_running_loop()
    reasons: list[str | None] = []

    async def look() -> bool:
        reasons.append(daemon.not_ready())
        return True

    commits = Commits(daemon, lambda: asyncio.run_coroutine_threadsafe(look(), loop).result())
    service.insert()
    await commits.refuse()
    await service.until(lambda: len(list(dropwhile(lambda words: words is None, reasons))) >= 3)
    assert all(dropwhile(lambda words: words is None, reasons))
    await commits.allow()
    await service.until(lambda: service.log(state="succeeded"))
    assert not await service.between_batches(daemon.not_ready)


@pytest.mark.long
async def test_answers_are_recorded_in_the_order_in_which_they_came(service: Service, receiver: Receiver) -> None:
    """Those of a batch that fails come before those that came while it was committed."""
    answers = [asyncio.Event(), asyncio.Event()]

    async def answer(_: web.Request) -> web.Response:
        number = len(receiver.requests) - 1
        await answers[number].wait()
        return web.Response(status=(500, 200)[number])

    receiver.answer = answer
    daemon = await service.start()
    service.webhook(receiver.url)
    for count in (1, 2):
        service.insert()
        await service.until(lambda: len(receiver.requests) == count)  # noqa: B023
    loop = asyncio.get_running_loop()

    async def have_the_next_end() -> bool:
        answers[1].set()
        while daemon.loop.in_flight:
            await asyncio.sleep(0)
        return True

    commits = Commits(daemon, lambda: asyncio.run_coroutine_threadsafe(have_the_next_end(), loop).result())
    await commits.refuse()
    answers[0].set()
    await service.until(lambda: commits.refused >= 1)
    await commits.allow()
    await service.until(lambda: [row["attempts"] for row in service.log()] == [1, 1])
    last = service.ask("SELECT failing_since, failures_in_a_row FROM webhooks")
    assert tuple(last) == (None, 0)


@pytest.mark.long
async def test_an_attempt_holds_nothing_of_the_batch_that_began_it(service: Service, receiver: Receiver) -> None:
    """However long it takes: answers and payloads of the others are forgotten once they are recorded."""
    release = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answer = never
    daemon = await service.start()
    service.webhook(receiver.url)
    for count in range(1, 4):
        service.insert()
        await service.until(lambda: len(service.log()) == count)  # noqa: B023
    await service.until(lambda: daemon.loop.in_flight == 2)
    gc.collect()
    # A batch has a function of its own, which goes with it; one of them may be under way.
    batches = [thing for thing in gc.get_objects() if isinstance(thing, Batch) and thing.work.take_slot.__closure__]
    functions = [weakref.ref(batch.work.take_slot) for batch in batches]
    batches.clear()

    def held() -> list[object]:
        """The batches of that moment that are still held, and what any of them fanned out."""
        gc.collect()
        alive = [function() for function in functions if function() is not None]
        return [*alive, *(thing for thing in gc.get_objects() if isinstance(thing, FanOut))]

    await service.until(lambda: not held())
    release.set()
    await service.until(lambda: len(service.log(state="succeeded")) == 3)
