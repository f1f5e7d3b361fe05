"""The slot of a request is given back whatever becomes of it, and its answer is recorded for the delivery that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from almirant_webhooks import daemon as daemon_module
from almirant_webhooks.model import Claim, Outcome, Result
from almirant_webhooks.sending.answers import Answer
from almirant_webhooks.sending.exchange import Connection
from almirant_webhooks.sending.own_faults import INTERNAL
from almirant_webhooks.sending.pool import Destination
from almirant_webhooks.sending.sender import Prepared, Sender

from ..conftest import Receiver
from ..support.service import Service

PLACES = ("while it is prepared", "at its beginning", "while it connects", "while its answer is read")


class FaultySender(Sender):
    """Has a fault of ours once, at the place that is given, after so many requests that were right."""

    def __init__(self, *args: Any, place: str, after: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._place = place
        self._left = after

    async def start(self) -> None:
        await super().start()
        self._open = self.connections.open
        vars(self.connections)["open"] = self._open_or_fail

    def _pass(self, place: str) -> None:
        if place == self._place:
            self._left -= 1
            if self._left == -1:
                raise ArithmeticError(place)

    def prepare(self, claim: Claim) -> Prepared | Result:
        self._pass("while it is prepared")
        return super().prepare(claim)

    def begin(self, prepared: Prepared, ended: Callable[[Result], None]) -> asyncio.Future[Any]:
        self._pass("at its beginning")
        return super().begin(prepared, ended)

    async def _open_or_fail(self, destination: Destination, *, once: bool, until: float) -> Connection:
        self._pass("while it connects")
        return await self._open(destination, once=once, until=until)

    def _answered(self, claim: Claim, begin: float, answer: Answer) -> Result:
        self._pass("while its answer is read")
        return super()._answered(claim, begin, answer)


@pytest.mark.parametrize(
    ("place", "after"), [*((place, 0) for place in PLACES), ("at its beginning", 1), ("while its answer is read", 1)]
)
async def test_a_fault_of_ours_between_the_beginning_and_the_end_of_a_request_keeps_no_slot(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, place: str, after: int
) -> None:
    """The attempt is recorded, and the one slot that there is goes to the next; on a new connection and on one that was kept."""
    monkeypatch.setattr(daemon_module, "Sender", partial(FaultySender, place=place, after=after))
    service.options["delivery"] = {"concurrency": 1}
    daemon = await service.start()
    service.webhook(receiver.url)
    for count in range(after):
        service.insert()
        await service.until(lambda: len(service.log(state="succeeded")) == count + 1)  # noqa: B023
    service.insert()
    await service.until(lambda: service.log(status="interrupted"))
    (row,) = service.log(status="interrupted")
    (attempt,) = service.detail(row["delivery_id"])["attempt_list"]
    assert (attempt["outcome"], attempt["cause"]) == (Outcome.INTERRUPTED.value, INTERNAL)
    service.insert()
    await service.until(lambda: len(service.log(state="succeeded")) == after + 1)
    await service.until(lambda: (daemon.loop.in_flight, daemon.loop.scheduler.in_flight.total()) == (0, 0))


async def test_each_answer_is_recorded_for_the_delivery_that_it_answers(service: Service, receiver: Receiver) -> None:
    """However many are in flight at once, and in whichever order their answers come."""
    answers: list[asyncio.Event] = []

    async def answer(request: web.Request) -> web.Response:
        mine = asyncio.Event()
        answers.append(mine)
        await mine.wait()
        return web.Response(text=request.headers["X-Almirant-Delivery"])

    receiver.answer = answer
    await service.start()
    for number in range(4):
        service.webhook(f"{receiver.url}/{number}")
    service.insert({"n": 1}, {"n": 2})
    await service.until(lambda: len(answers) == 8)
    for event in reversed(answers):
        event.set()
    await service.until(lambda: len(service.log(state="succeeded")) == 8)
    for row in service.log():
        (attempt,) = service.detail(row["delivery_id"])["attempt_list"]
        assert attempt["response_body"] == row["delivery_id"]
