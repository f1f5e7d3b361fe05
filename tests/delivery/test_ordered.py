"""An ordered webhook with the daemon: its receiver sees one delivery after the other, whatever it answers; others see theirs."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks

from ..conftest import Receiver
from ..support.service import Service

PROJECTS = 20
EVENTS = 12


class Watching:
    """A receiver that notes what it is sent by path, in order, and how many requests it has at once; some it refuses once."""

    def __init__(self, receiver: Receiver, *, fails_every: int = 0) -> None:
        self.numbers: defaultdict[str, list[int]] = defaultdict(list)
        self.most: defaultdict[str, int] = defaultdict(int)
        self._here: defaultdict[str, int] = defaultdict(int)
        self._fails_every = fails_every
        receiver.answer = self.answer

    async def answer(self, request: web.Request) -> web.Response:
        """Take a request; its answer leaves after what else is ready."""
        path = request.path
        self._here[path] += 1
        self.most[path] = max(self.most[path], self._here[path])
        number = json.loads(await request.read())["data"]["n"]
        is_first = number not in self.numbers[path]
        self.numbers[path].append(number)
        await asyncio.sleep(0)
        self._here[path] -= 1
        # By the number: of every third request the same few would be refused again and again, until they have failed.
        fails = self._fails_every and number % self._fails_every == 0 and is_first
        return web.Response(status=503 if fails else 200)


def without_repeats(numbers: list[int]) -> list[int]:
    """The numbers, of those that follow each other the first alone."""
    return [number for at, number in enumerate(numbers) if at == 0 or number != numbers[at - 1]]


@pytest.mark.long
async def test_a_receiver_that_fails_now_and_then_sees_each_event_in_order(
    service: Service, receiver: Receiver
) -> None:
    """One request at a time, and the failed one again before the next; beside it many projects in any order."""
    service.options["delivery"] = {"retry_schedule": ["0s"] + ["10ms"] * 9}
    watching = Watching(receiver, fails_every=3)
    await service.start()
    service.webhook(f"{receiver.url}/in-order", ordered=True)
    service.webhook(f"{receiver.url}/beside-it")
    for number in range(PROJECTS):
        service.webhook(f"{receiver.url}/{number}", project=f"proj_many_{number}")
    for n in range(EVENTS):
        service.insert({"n": 2 * n}, {"n": 2 * n + 1})
        for number in range(PROJECTS):
            service.insert({"n": n}, project=f"proj_many_{number}")
    total = 4 * EVENTS + PROJECTS * EVENTS
    await service.until(lambda: len(service.log(state="succeeded", limit=2 * total)) == total)
    sent = watching.numbers["/in/in-order"]
    assert without_repeats(sent) == list(range(2 * EVENTS))
    assert len(sent) > 2 * EVENTS
    assert watching.most["/in/in-order"] == 1
    others = [set(watching.numbers[f"/in/{number}"]) for number in range(PROJECTS)]
    assert others == [set(range(EVENTS))] * PROJECTS
    assert set(watching.numbers["/in/beside-it"]) == set(range(2 * EVENTS))


async def test_a_head_that_waits_keeps_the_thread_at_rest(service: Service, receiver: Receiver) -> None:
    """Others are due behind it, and no step is taken for them; a resend of it that succeeds lets them go in order."""
    service.options["delivery"] = {"retry_schedule": ["0s", "2h"]}
    service.options["outbox"] = {"poll_interval": "1h"}
    receiver.status = 503
    daemon = await service.start()
    service.webhook(receiver.url, ordered=True)
    service.insert(*({"n": n} for n in range(4)))
    await service.until(lambda: len(service.log()) == 4 and service.log(status="503"))
    due = await service.between_batches(daemon.loop.scheduler.next_due)
    assert due is not None
    assert due > clock.text(clock.now()), "it sleeps until the head is due"
    assert len(receiver.requests) == 1
    receiver.status = 200
    (head,) = service.log(status="503")
    assert service.resend(head["delivery_id"])
    await service.until(lambda: len(service.log(state="succeeded")) == 4)
    assert [json.loads(request.body)["data"]["n"] for request in receiver.requests] == [0, 0, 1, 2, 3]


async def test_it_goes_on_in_order_after_it_was_disabled_and_after_a_restart(
    service: Service, receiver: Receiver
) -> None:
    """What was held goes first, then what came later."""
    watching = Watching(receiver)
    await service.start()
    webhook = service.webhook(receiver.url, ordered=True)
    service.write(webhooks.disable, webhook.id, clock.now())
    service.insert(*({"n": n} for n in range(5)))
    await service.until(lambda: len(service.log(state="held")) == 5)
    await service.stop()
    service.write(webhooks.enable, webhook.id, discard_held=False, now=clock.now())
    service.insert(*({"n": n} for n in range(5, 10)))
    await service.start()
    await service.until(lambda: len(service.log(state="succeeded")) == 10)
    assert (watching.numbers["/in"], watching.most["/in"]) == (list(range(10)), 1)


async def test_switched_on_and_off_while_it_works_it_sends_each_once(service: Service, receiver: Receiver) -> None:
    """In order from the end of what was under way on, and as many at once as others again when it is off."""
    await service.start()
    webhook = service.webhook(receiver.url)
    service.insert({"n": -1})
    await service.until(lambda: service.log(state="succeeded"))
    release, here = asyncio.Event(), []

    async def hold(request: web.Request) -> web.Response:
        here.append(json.loads(await request.read())["data"]["n"])
        await release.wait()
        return web.Response()

    receiver.answer = hold
    service.insert(*({"n": n} for n in range(30)))
    await service.until(lambda: len(here) == 8)
    service.write(webhooks.update, webhook.id, options={"ordered": True}, now=clock.now())
    watching = Watching(receiver)
    release.set()
    await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 31)
    assert (watching.numbers["/in"], watching.most["/in"]) == (list(range(8, 30)), 1)
    service.write(webhooks.update, webhook.id, options={"ordered": None}, now=clock.now())
    release.clear()
    receiver.answer = hold
    service.insert(*({"n": n} for n in range(30)))
    await service.until(lambda: len(here) == 16)
    release.set()
    await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 61)
