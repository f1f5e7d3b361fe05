"""A webhook with a rate limit, as its receiver sees it: bursts up to the limit, nothing beyond it, over restarts and changes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from functools import partial

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import resends, webhooks

from ..conftest import Receiver
from ..support.service import Service


def set_limit(service: Service, webhook_id: str, limit: str | None) -> None:
    """Change a limit as another process does."""
    service.write(webhooks.update, webhook_id, options={"rate_limit": limit}, now=clock.now())


def succeeded(service: Service, count: int, webhook_id: str) -> bool:
    return len(service.log(state="succeeded", webhook_id=webhook_id)) == count


async def until_succeeded(service: Service, count: int, webhook_id: str) -> None:
    await service.until(partial(succeeded, service, count, webhook_id))


async def until_all_else_is_done(service: Service, receiver: Receiver) -> None:
    """Wait until an event that came last has been delivered elsewhere: what may begin has begun by then."""
    other = service.webhook(f"{receiver.url}/other", project="proj_other")
    for number in range(2):  # a second one finds a thread that has been at rest
        service.insert({"last": number}, project="proj_other")
        await until_succeeded(service, number + 1, other.id)


def arrived(receiver: Receiver) -> int:
    """Count the requests at the webhook that has the limit."""
    return sum(not request.path.endswith("/other") for request in receiver.requests)


async def test_a_burst_goes_up_to_the_limit_and_the_rest_waits(service: Service, receiver: Receiver) -> None:
    """Of events that were there before the daemon, and of those that come while it runs."""
    service.migrate()
    webhook = service.webhook(receiver.url, rate_limit="5/h")
    service.insert(*({"n": number} for number in range(3)))
    await service.start()
    await until_succeeded(service, 3, webhook.id)
    service.insert(*({"n": number} for number in range(5)))
    await until_succeeded(service, 5, webhook.id)
    await until_all_else_is_done(service, receiver)
    assert arrived(receiver) == 5
    assert len(service.log(state="pending", webhook_id=webhook.id)) == 3


@pytest.mark.long
async def test_places_that_come_free_are_taken_without_a_wake_up_from_outside(
    service: Service, receiver: Receiver
) -> None:
    """By the second, several spans long; the log says when each began."""
    await service.start()
    webhook = service.webhook(receiver.url, rate_limit="4/s")
    service.insert(*({"n": number} for number in range(10)))
    await until_succeeded(service, 10, webhook.id)
    starts = service.read(lambda conn: [row[0] for row in conn.execute("SELECT started_at FROM attempts ORDER BY 1")])
    times = [clock.parse(start) for start in starts]
    assert all(later - earlier > timedelta(seconds=1) for earlier, later in zip(times, times[4:], strict=False))


async def test_what_began_before_a_restart_counts(service: Service, receiver: Receiver) -> None:
    """What has ended, and what was in flight: the span is filled from the log."""
    await service.start()
    webhook = service.webhook(receiver.url, rate_limit="4/h")
    service.insert(*({"n": number} for number in range(2)))
    await until_succeeded(service, 2, webhook.id)
    held = asyncio.Event()

    async def hold(_: web.Request) -> web.Response:
        await held.wait()
        return web.Response()

    receiver.answer = hold
    service.insert({"n": 2})
    await service.until(lambda: arrived(receiver) == 3)
    assert service.daemon is not None
    for _ in range(2):  # asked twice, it waits for nothing that is in flight
        service.daemon.end("the test restarts it")
    await service.stop()
    held.set()
    receiver.answer = None
    service.insert(*({"n": number} for number in range(3, 9)))
    await service.start()
    await service.until(lambda: arrived(receiver) == 4)
    await until_all_else_is_done(service, receiver)
    assert arrived(receiver) == 4


async def test_a_change_of_the_limit_counts_from_the_next_batch_on(service: Service, receiver: Receiver) -> None:
    """Set, raised, lowered, with another unit and taken away: what began before counts each time."""
    await service.start()
    webhook = service.webhook(receiver.url)
    service.insert(*({"n": number} for number in range(3)))
    await until_succeeded(service, 3, webhook.id)
    set_limit(service, webhook.id, "4/h")
    service.insert(*({"n": number} for number in range(7)))
    await until_succeeded(service, 4, webhook.id)
    set_limit(service, webhook.id, "6/h")
    await until_succeeded(service, 6, webhook.id)
    set_limit(service, webhook.id, "2/m")
    await until_all_else_is_done(service, receiver)
    assert arrived(receiver) == 6
    set_limit(service, webhook.id, "7/m")
    await until_succeeded(service, 7, webhook.id)
    await until_all_else_is_done(service, receiver)
    assert arrived(receiver) == 7
    set_limit(service, webhook.id, None)
    await until_succeeded(service, 10, webhook.id)


async def test_resends_count_and_wait_and_tests_do_neither(service: Service, receiver: Receiver) -> None:
    """A single resend and one of many; the test goes at once, and leaves the places as they are."""
    await service.start()
    webhook = service.webhook(receiver.url, rate_limit="3/h")
    service.insert({"n": 0}, {"n": 1})
    await until_succeeded(service, 2, webhook.id)
    first, second = (row["delivery_id"] for row in service.log(webhook_id=webhook.id))
    for _ in range(2):
        test = service.write(webhooks.request_test, webhook.id, "lead.created", "{}", clock.now())
        await service.until(partial(_has_ended, service, test))
    service.resend(first)
    await service.until(lambda: arrived(receiver) == 5)
    service.resend(second)
    service.write(resends.start, Selection(webhook_id=webhook.id), {webhook.id: 2}, actor="operator", now=clock.now())
    test = service.write(webhooks.request_test, webhook.id, "lead.created", "{}", clock.now())
    await service.until(partial(_has_ended, service, test))
    await until_all_else_is_done(service, receiver)
    assert arrived(receiver) == 6
    set_limit(service, webhook.id, None)
    await service.until(lambda: arrived(receiver) >= 7)


async def test_waiting_runs_no_schedule_and_no_time_limit(service: Service, receiver: Receiver) -> None:
    """What waits has had no attempt and no try, and its time is the one at which it was due."""
    await service.start()
    webhook = service.webhook(receiver.url, rate_limit="1/h")
    service.insert({"n": 0}, {"n": 1})
    await until_succeeded(service, 1, webhook.id)
    await until_all_else_is_done(service, receiver)
    (waiting,) = service.log(state="pending", webhook_id=webhook.id)
    detail = service.detail(waiting["delivery_id"])
    assert (detail["tries"], detail["attempts"]) == (0, 0)
    assert detail["next_attempt_at"] == detail["date"]


async def test_a_clock_that_is_set_back_frees_no_burst_and_holds_nobody_up(
    service: Service, receiver: Receiver
) -> None:
    """While no daemon runs: what the log has of times to come counts as begun just now."""
    await service.start()
    webhook = service.webhook(receiver.url, rate_limit="3/h")
    service.insert({"n": 0}, {"n": 1})
    await until_succeeded(service, 2, webhook.id)
    await service.stop()
    later = clock.text(clock.now() + timedelta(days=400))
    service.write(lambda conn: conn.execute("UPDATE attempts SET started_at = ?", (later,)))
    await service.start()
    service.insert({"n": 2}, {"n": 3})
    await service.until(lambda: arrived(receiver) == 3)
    await until_all_else_is_done(service, receiver)
    assert arrived(receiver) == 3
    assert service.daemon is not None
    loop = service.daemon.loop
    seconds = await loop.worker.run(lambda _: loop.scheduler.rates.seconds_to_place(time.monotonic()))
    assert seconds is not None
    assert 3500 < seconds < 3700, "the span and a slot"


def _has_ended(service: Service, delivery_id: str) -> bool:
    return bool(service.detail(delivery_id)["state"] != "pending")
