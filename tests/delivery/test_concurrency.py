"""How many requests a webhook gets at once, where it says so itself: never more, and as many as that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.delivery.scheduler import Scheduler, Slots
from almirant_webhooks.model import Due
from almirant_webhooks.storage.engine import FanOut
from almirant_webhooks.storage.sql import webhooks

from ..conftest import Receiver
from ..support.service import Service

AT = "2026-11-25T00:00:00.000Z"


class Holding:
    """A receiver that answers when it is told to, and counts what it holds."""

    def __init__(self, receiver: Receiver) -> None:
        self.held: list[asyncio.Event] = []
        self.most = 0
        receiver.answer = self.answer

    async def answer(self, _: web.Request) -> web.Response:
        """Hold a request."""
        release = asyncio.Event()
        self.held.append(release)
        self.most = max(self.most, len(self.held))
        await release.wait()
        return web.Response()

    def release(self, count: int) -> None:
        """Answer the oldest ones."""
        for release in self.held[:count]:
            release.set()
        del self.held[:count]


async def prove(service: Service) -> None:
    """Have a webhook answer once: until then two requests at once are enough."""
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))


@pytest.mark.parametrize("concurrency", [1, 3, 20])
async def test_a_receiver_sees_as_many_at_once_as_it_wants_and_never_more(
    service: Service, receiver: Receiver, concurrency: int
) -> None:
    """Fewer than the setting's 8, or more; of new events, of a backlog, and of both together."""
    await service.start()
    service.webhook(receiver.url, concurrency=concurrency)
    await prove(service)
    holding = Holding(receiver)
    left = 2 * concurrency + 5
    service.insert(*({"n": number} for number in range(left)))
    await service.until(lambda: len(holding.held) == concurrency)
    service.insert({"late": True})
    left += 1
    while left:
        await service.until(lambda: len(holding.held) == min(left, concurrency))  # noqa: B023
        assert holding.most <= concurrency
        ends = min(left, 1 + concurrency // 2)
        holding.release(ends)
        left -= ends
    await service.until(lambda: not service.log(state="pending"))
    assert holding.most == concurrency


async def test_a_change_counts_from_the_next_claim_on(service: Service, receiver: Receiver) -> None:
    """Up, down and taken away, by another process: nothing is cut off, and nothing begins until there are fewer."""
    await service.start()
    webhook = service.webhook(receiver.url)
    await prove(service)
    holding = Holding(receiver)
    service.insert(*({"n": number} for number in range(60)))
    await service.until(lambda: len(holding.held) == 8)

    def change(concurrency: int | None) -> None:
        service.write(webhooks.update, webhook.id, options={"concurrency": concurrency}, now=clock.now())

    change(12)
    await service.until(lambda: len(holding.held) == 12)
    change(2)
    holding.release(10)
    await service.until(lambda: len(service.log(state="succeeded")) == 11)
    begun = service.read(lambda conn: conn.execute("SELECT count(*) FROM deliveries WHERE in_flight = 1").fetchone()[0])
    assert (begun, len(holding.held), holding.most) == (2, 2, 12), "the batch that recorded them has begun none"
    holding.most = 0
    holding.release(1)
    await service.until(lambda: len(holding.held) == 2)
    assert holding.most == 2
    change(None)
    await service.until(lambda: len(holding.held) == 8)
    assert not service.log(status="interrupted")


async def test_events_of_a_webhook_that_is_new_to_the_daemon_keep_to_its_limit(
    service: Service, receiver: Receiver
) -> None:
    """The first transaction that takes them knows it, whatever the scheduler has heard of."""
    holding = Holding(receiver)
    await service.start()
    service.webhook(receiver.url, concurrency=1)
    service.insert(*({"n": number} for number in range(5)))
    for left in range(5, 0, -1):
        await service.until(lambda: holding.held)
        assert len(holding.held) == 1
        holding.release(1)
        await service.until(lambda: len(service.log(state="succeeded")) == 6 - left)  # noqa: B023
    assert holding.most == 1


def under(scheduler: Scheduler, most: int | None) -> Callable[[], dict[str, int]]:
    """Return what gives the webhook `w`, which has a lot due and this limit, its slots."""
    scheduler.update_due({"w"}, {"w": Due(AT, "p", most)})
    return lambda: scheduler.allocate(AT, Slots(scheduler, 256))


def test_the_scheduler_goes_by_what_was_read_last() -> None:
    """With what is due, or with an event that was taken; where nothing was said the setting counts."""
    scheduler = Scheduler(256, 8)
    scheduler.remember("w", timed_out=False, duration_ms=5)
    assert under(scheduler, None)() == {"w": 8}
    assert under(scheduler, 3)() == {"w": 3}
    assert under(scheduler, 20)() == {"w": 20}
    for _ in range(5):
        scheduler.begin("w")
    assert under(scheduler, 3)() == {}
    assert scheduler.next_due() is None, "the end of one wakes whoever asks"
    scheduler.learn(FanOut(enabled={("p", "a.b"): ["w"]}, concurrency={"w": 6}))
    assert scheduler.free_slots("w") == 1
    scheduler.learn(FanOut(enabled={("p", "a.b"): ["w"]}))
    assert (scheduler.free_slots("w"), scheduler.concurrency_of) == (3, {})


def test_limits_of_webhooks_with_nothing_due_are_forgotten() -> None:
    """They may be deleted; the next event of one tells its limit anew."""
    scheduler = Scheduler(256, 8)
    under(scheduler, 3)
    scheduler.forget_idle()
    assert scheduler.concurrency_of == {"w": 3}
    scheduler.update_due({"w"}, {})
    scheduler.forget_idle()
    assert scheduler.concurrency_of == {}
