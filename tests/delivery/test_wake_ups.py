"""Nothing is slept through: what comes while the delivery thread goes to rest wakes it.

No backstop helps here: the loop would look again after an hour.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from types import CodeType, FrameType
from typing import Any

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.daemon import Daemon
from almirant_webhooks.delivery import rest
from almirant_webhooks.delivery.commits import Commits
from almirant_webhooks.delivery.network import Outage
from almirant_webhooks.delivery.pace import MAX_GAP
from almirant_webhooks.delivery.result_queue import ResultQueue
from almirant_webhooks.delivery.scheduler import Scheduler
from almirant_webhooks.model import Claim, Due, Outcome, Result, Trigger
from almirant_webhooks.storage.engine import Busy
from almirant_webhooks.storage.sql import webhooks

from ..conftest import Receiver
from ..support.service import Service
from ..support.steps import START

HOUR = 3600.0
News = Callable[[], Coroutine[Any, Any, object]]
RESULT = Result(
    Claim("dlv_1", "wh_1", "evt_1", "a.b", "https://example.com/", "s" * 16, b"{}", 1, Trigger.SCHEDULED, False, START),
    Outcome.SUCCESS,
    START,
    5,
)  # fmt: skip


async def _start_without_backstops(service: Service, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Start a daemon of which nothing runs but the loop: nobody looks at the files or asks for its thread."""
    monkeypatch.setattr(rest, "MAX_IDLE", HOUR)
    service.options["outbox"] = {"poll_interval": "1h"}
    daemon = await service.start()
    await daemon._tasks.cancel()
    return daemon


async def test_a_look_that_fails_ends_nothing(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one finds the commit: what stops a read of the database for a moment is no fault of the daemon's."""
    failed = asyncio.Event()

    def fail(self: Commits, conn: sqlite3.Connection, at: float) -> bool:
        monkeypatch.setattr(Commits, "look_again", look_again)
        event_loop.call_soon_threadsafe(failed.set)
        raise Busy("database is locked")

    event_loop, look_again = asyncio.get_running_loop(), Commits.look_again
    await service.start()
    monkeypatch.setattr(Commits, "look_again", fail)
    service.webhook(receiver.url)
    service.insert()
    await failed.wait()
    await service.until(lambda: len(receiver.requests) == 1)


def _have_come_at_rest(daemon: Daemon, news: News) -> None:
    """Have news come once, after a step has found that nothing is to be done, and before the thread rests."""
    event_loop, step = asyncio.get_running_loop(), daemon.loop.step
    came: list[object] = []

    def step_then_news(conn: sqlite3.Connection) -> float:
        rest = step(conn)
        if rest > HOUR / 2 and not came:
            came.append(asyncio.run_coroutine_threadsafe(news(), event_loop).result())
        return rest

    daemon.loop.worker.take_steps(step_then_news, lambda error: daemon._tasks.died("step", error))


def _answer_late(receiver: Receiver) -> tuple[asyncio.Event, asyncio.Event]:
    """Have a receiver answer once the second event is set; the first one says that a request has arrived."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response()

    receiver.answer = answer
    return arrived, release


def _leave_a_gap(daemon: Daemon) -> None:
    """Let it be as if a batch had just ended, a producer had committed, and there were nothing to read. In the delivery thread."""
    loop, at = daemon.loop, time.monotonic()
    for foreign in (at - 0.5, at):
        loop._pace.note_foreign_commit(foreign)
    for ended in (at - 0.5, at):
        loop._pace.observe_batch(ended - MAX_GAP, ended, ended, 10)
    loop.reader.force_read()


async def test_a_commit_that_is_noticed_while_the_thread_goes_to_rest_is_not_slept_through(
    service_anywhere: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the outbox is."""
    service = service_anywhere
    daemon = await _start_without_backstops(service, monkeypatch)
    service.webhook(receiver.url)

    async def commit() -> None:
        service.insert()
        daemon.loop.look()

    _have_come_at_rest(daemon, commit)
    await service.until(lambda: service.log(state="succeeded"))


async def test_a_webhook_that_is_enabled_while_the_thread_goes_to_rest_is_not_slept_through(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held for it goes out."""
    daemon = await _start_without_backstops(service, monkeypatch)
    webhook = service.webhook(receiver.url)
    service.write(webhooks.disable, webhook.id, clock.now())
    service.insert()
    daemon.loop.look()
    await service.until(lambda: service.log(state="held"))

    async def enable() -> None:
        service.write(webhooks.enable, webhook.id, discard_held=False, now=clock.now())
        daemon.loop.look()

    _have_come_at_rest(daemon, enable)
    await service.until(lambda: service.log(state="succeeded"))


async def test_an_answer_that_comes_with_news_within_the_gap_for_producers_is_not_slept_through(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The news are of nothing to read, and what has ended is recorded once the gap is over."""
    arrived, release = _answer_late(receiver)

    def have_it_answered(conn: sqlite3.Connection) -> None:
        asyncio_loop.call_soon_threadsafe(release.set)
        while not daemon.loop._results.count:
            time.sleep(0.001)
        _leave_a_gap(daemon)

    asyncio_loop = asyncio.get_running_loop()
    daemon = await _start_without_backstops(service, monkeypatch)
    service.webhook(receiver.url)
    service.insert()
    daemon.loop.look()
    await arrived.wait()
    await daemon.loop.worker.run(have_it_answered)
    await service.until(lambda: service.log(state="succeeded"))


async def test_what_is_due_while_news_come_within_the_gap_for_producers_is_not_slept_through(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The news are of nothing to read, and what is due begins once the gap is over."""
    monkeypatch.setattr(rest, "PAUSE", HOUR)
    daemon = await _start_without_backstops(service, monkeypatch)
    webhook = service.webhook(receiver.url)
    service.insert()
    daemon.loop.look()
    await service.until(lambda: service.log(state="succeeded"))
    (delivery,) = service.log(state="succeeded")
    service.resend(delivery["delivery_id"])

    def have_it_due(conn: sqlite3.Connection) -> None:
        daemon.loop.scheduler.update_due({webhook.id}, {webhook.id: Due(clock.text(clock.now()), "proj_1")})
        _leave_a_gap(daemon)

    await daemon.loop.worker.run(have_it_due)
    await service.until(lambda: len(receiver.requests) == 2)


async def test_an_answer_that_comes_while_the_thread_goes_to_rest_is_not_slept_through(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is recorded at once, and its slot is free for the next."""
    arrived, release = _answer_late(receiver)
    daemon = await _start_without_backstops(service, monkeypatch)
    service.webhook(receiver.url)
    service.insert()
    daemon.loop.look()
    await arrived.wait()

    async def answer() -> None:
        release.set()
        while daemon.loop.in_flight:
            await asyncio.sleep(0)

    _have_come_at_rest(daemon, answer)
    await service.until(lambda: service.log(state="succeeded"))
    assert daemon.loop.scheduler.in_flight.total() == 0


def _run_with(code: CodeType, place: int, meanwhile: Callable[[], object], call: Callable[[], object]) -> bool:
    """Make a call, and another one at the given place of its code: before a line, or at its end. False where it has no such place."""
    places = 0

    def at_a_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal places
        if event in ("line", "return"):
            if places == place:
                sys.settrace(None)
                meanwhile()
            places += 1
        return at_a_line

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        return at_a_line if frame.f_code is code else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(before)
    return places > place


async def test_what_was_read_before_the_last_batch_takes_no_due_time_away(service: Service, receiver: Receiver) -> None:
    """A step of upkeep reads while an attempt is in flight, and tells of it once that has ended and the next one is due."""
    receiver.status = 500
    daemon = await service.start()
    webhook = service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(status="500"))
    loop = daemon.loop
    await loop.worker.run(lambda _: None)
    loop.update_due({webhook.id}, {})
    assert await loop.worker.run(lambda _: webhook.id in loop.scheduler.due)


@pytest.mark.parametrize("interrupted", ["going to rest", "handing over"])
def test_a_result_is_seen_by_the_thread_or_wakes_it_whenever_it_comes(interrupted: str) -> None:
    """One thread looks how many there are while another hands one over: at each line of either the other may come."""
    woken: list[bool] = []
    seen: list[bool] = []
    place = 0
    while True:
        ended = ResultQueue(Scheduler(1, 1), Outage(), lambda: woken.append(True))
        rest, hand_over = partial(_rest, ended, seen), partial(ended.hand_over, RESULT, 5)
        if interrupted == "going to rest":
            has_place = _run_with(ResultQueue.wake_at.__code__, place, hand_over, rest)
        else:
            has_place = _run_with(ResultQueue.hand_over.__code__, place, rest, hand_over)
        if not has_place:
            break
        assert any(seen) or woken, place
        woken.clear()
        seen.clear()
        place += 1
    assert place >= 3


def _rest(ended: ResultQueue, seen: list[bool]) -> None:
    seen.append(ended.wake_at(1))
