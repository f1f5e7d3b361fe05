"""How free slots are shared out, as a pure function of what is due and in flight."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from aiohttp import web

from almirant_webhooks.delivery import queues as lines_of
from almirant_webhooks.delivery import scheduler as scheduler_module
from almirant_webhooks.delivery.scheduler import Scheduler, Slots
from almirant_webhooks.model import Due

from ..conftest import Receiver
from ..support.service import Service

TraceFunction = Callable[[FrameType, str, Any], Any]
AT = "2026-11-25T00:00:00.000Z"
LATER = "2026-11-25T01:00:00.000Z"
NOW = Due(AT, "proj_1")


def offer(scheduler: Scheduler, due: dict[str, Due]) -> None:
    """Give webhooks something due."""
    scheduler.update_due(list(due), due)


def test_many_that_turn_slow_all_at_once_do_not_take_every_slot() -> None:
    """Quick until now, so nothing holds them back: an eighth is left for webhooks that have nothing in flight."""
    scheduler = Scheduler(256, 8)
    bad = {f"bad{number}": NOW for number in range(100)}
    for webhook in bad:
        scheduler.begin(webhook)
        scheduler.end(webhook, timed_out=False, duration_ms=5)
    offer(scheduler, bad)
    taken = scheduler.allocate(AT, Slots(scheduler, 256))
    assert sum(taken.values()) == 224
    for webhook, count in taken.items():
        for _ in range(count):
            scheduler.begin(webhook)
    assert scheduler.allocate(AT, Slots(scheduler, 256)) == {}
    scheduler.update_due({"good"}, {"good": NOW})
    assert scheduler.allocate(AT, Slots(scheduler, 256)) == {"good": 1}


def test_one_webhook_has_its_own_limit_whatever_is_left_for_others() -> None:
    """Where slots are many."""
    scheduler = Scheduler(256, 8)
    scheduler.begin("only")
    scheduler.end("only", timed_out=False, duration_ms=5)
    offer(scheduler, {"only": NOW})
    assert scheduler.allocate(AT, Slots(scheduler, 256)) == {"only": 8}


def test_some_can_be_left_out() -> None:
    """Those that were lost in what looks like an outage."""
    scheduler = Scheduler(256, 8)
    offer(scheduler, {"lost": NOW, "other": NOW})
    assert scheduler.allocate(AT, Slots(scheduler, 256), excluding={"lost"}) == {"other": 2}


def test_a_project_with_many_busy_webhooks_is_one_among_the_others() -> None:
    """Its hundred backlogs do not make another project wait a hundred times as long."""
    scheduler = Scheduler(256, 8)
    offer(scheduler, {f"busy{number}": Due(AT, "busy") for number in range(100)} | {"good": Due(AT, "good")})
    taken = scheduler.allocate(AT, Slots(scheduler, 4))
    assert taken == {"busy0": 1, "good": 2, "busy1": 1}
    for webhook in ("busy0", "good"):
        scheduler.begin(webhook)
    assert next(iter(scheduler.allocate(AT, Slots(scheduler, 1)))) == "busy1"


def test_webhooks_of_projects_that_are_another_daemon_s_get_nothing() -> None:
    """Those that it gives are forgotten, and what is read or told of them later is left out."""
    scheduler = Scheduler(256, 8)
    due = {"w": Due(AT, "mine"), "x": Due(AT, "given"), "y": Due(AT, "theirs")}
    owned = {"mine", "given"}
    scheduler.owns = owned.__contains__
    scheduler.update_due(due, due)
    assert set(scheduler.allocate(AT, Slots(scheduler, 256))) == {"w", "x"}
    owned.remove("given")
    scheduler.change_owner({})
    scheduler.update_due(due, due)
    assert set(scheduler.allocate(AT, Slots(scheduler, 256))) == {"w"}
    assert set(scheduler.due) == {"w"}


def test_who_waited_longest_comes_first() -> None:
    """One that had nothing due for a moment keeps its place before those that had their turn since."""
    scheduler = Scheduler(256, 8)
    offer(scheduler, {name: Due(AT, name) for name in ("seldom", "busy", "busier")})
    scheduler.begin("seldom")
    scheduler.update_due({"seldom"}, {})
    scheduler.begin("busy")
    scheduler.begin("busier")
    scheduler.update_due({"seldom"}, {"seldom": Due(AT, "seldom")})
    assert list(scheduler.allocate(AT, Slots(scheduler, 3))) == ["seldom", "busy", "busier"]


def test_no_more_is_looked_at_than_there_are_slots() -> None:
    """Of ten thousand webhooks with something due the first few are asked for."""
    scheduler = Scheduler(256, 8)
    offer(scheduler, {f"{number}": Due(AT, f"proj_{number % 100}") for number in range(10_000)})
    assert list(scheduler.allocate(AT, Slots(scheduler, 3)).items()) == [("0", 1), ("1", 1), ("2", 1)]


def looked_at(call: Callable[[], object]) -> int:
    """Count the lines of the scheduler that a call runs: what it looks at, whatever the machine does meanwhile."""
    lines = 0

    def count(frame: FrameType, event: str, _: object) -> TraceFunction:
        nonlocal lines
        lines += event == "line"
        return count

    def enter(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        return (
            count(frame, event, argument)
            if frame.f_code.co_filename in (scheduler_module.__file__, lines_of.__file__)
            else None
        )

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


def have_retries_for_later(scheduler: Scheduler, count: int) -> None:
    """Nothing of them is due."""
    offer(scheduler, {f"{number}": Due(LATER, f"proj_{number}") for number in range(count)})


def are_slow_beside_a_full_half(scheduler: Scheduler, count: int) -> None:
    """All of them are due, and slots are free for others alone."""
    for number in range(count):
        scheduler.remember(f"{number}", timed_out=False, duration_ms=1500)
    for number in range(128):
        scheduler.begin(f"{number}")
    offer(scheduler, {f"{number}": Due(AT, f"proj_{number % 100}") for number in range(count)})


def are_quick_beside_none_free(scheduler: Scheduler, count: int) -> None:
    """All of them are due, and the eighth that is left is for others."""
    for number in range(256):
        scheduler.begin(f"{number % 32}")
    offer(scheduler, {f"{number}": Due(AT, f"proj_{number % 100}") for number in range(count)})


@pytest.mark.parametrize("wait", [have_retries_for_later, are_slow_beside_a_full_half, are_quick_beside_none_free])
def test_what_is_looked_at_does_not_grow_with_those_that_wait(wait: Callable[[Scheduler, int], None]) -> None:
    """A fresh event's whole turn beside a thousand webhooks and beside ten thousand."""

    def turn(count: int) -> int:
        scheduler = Scheduler(256, 8)
        wait(scheduler, count)
        scheduler.allocate(AT, Slots(scheduler, 128))  # whoever is due stands in line from now on

        def whole() -> None:
            scheduler.update_due({"fresh"}, {"fresh": NOW})
            scheduler.allocate(AT, Slots(scheduler, 128))
            scheduler.begin("fresh")
            scheduler.update_due({"fresh"}, {})
            scheduler.next_due()
            scheduler.end("fresh", timed_out=False, duration_ms=5)
            scheduler.next_due()

        return looked_at(whole)

    assert turn(1000) == turn(10_000) < 2000


def test_the_next_time_is_that_of_the_earliest_whatever_was_set_before() -> None:
    """Times that were changed or taken back are forgotten, however often that happens."""
    scheduler = Scheduler(256, 8)
    for number in range(1000):
        offer(scheduler, {"often": Due(f"2027-01-01T00:00:{number:03}", "p")})
    offer(scheduler, {"once": Due("2027-01-01T00:00:998a", "p")})
    assert scheduler.next_due() == "2027-01-01T00:00:998a"
    scheduler.update_due({"once"}, {})
    assert scheduler.next_due() == "2027-01-01T00:00:999"
    assert len(scheduler._later._heap) < 100
    assert scheduler.allocate("2027-01-01T00:00:998", Slots(scheduler, 256)) == {}
    assert scheduler.allocate("2027-01-01T00:00:999", Slots(scheduler, 256)) == {"often": 2}


def test_a_receiver_that_is_steadily_slow_gets_its_own_limit_within_the_slow_half() -> None:
    """An answer within the time limit is one, however slow; until the first, and after a time-out, two slots are enough."""
    scheduler = Scheduler(32, 8)
    offer(scheduler, {"steady": NOW})
    assert scheduler.allocate(AT, Slots(scheduler, 32)) == {"steady": 2}
    scheduler.begin("steady")
    scheduler.end("steady", timed_out=False, duration_ms=1500)
    assert scheduler.allocate(AT, Slots(scheduler, 32)) == {"steady": 8}
    others = {f"slow{number}": NOW for number in range(3)}
    for webhook in others:
        scheduler.remember(webhook, timed_out=False, duration_ms=1500)
    offer(scheduler, others)
    assert sum(scheduler.allocate(AT, Slots(scheduler, 32)).values()) == 16, "they share half of the slots"
    scheduler.remember("steady", timed_out=True, duration_ms=10_000)
    scheduler.update_due(others, {})
    assert scheduler.allocate(AT, Slots(scheduler, 32)) == {"steady": 2}
    scheduler.remember("steady", timed_out=False, duration_ms=5)
    assert scheduler.allocate(AT, Slots(scheduler, 32)) == {"steady": 8}


def test_who_turns_slow_or_quick_while_it_waits_changes_its_half() -> None:
    """With all that it has in flight, and without losing its place."""
    scheduler = Scheduler(8, 8)
    offer(scheduler, {"turning": Due(AT, "a"), "other": Due(AT, "b")})
    for webhook in ("turning", "other"):
        scheduler.remember(webhook, timed_out=False, duration_ms=5)
    scheduler.allocate(AT, Slots(scheduler, 1))
    for _ in range(3):
        scheduler.in_flight["turning"] += 1
    scheduler.remember("turning", timed_out=False, duration_ms=1500)
    assert (scheduler.slow_in_flight, scheduler.allocate(AT, Slots(scheduler, 8))["turning"]) == (3, 1)
    scheduler.remember("turning", timed_out=False, duration_ms=5)
    assert scheduler.slow_in_flight == 0
    assert next(iter(scheduler.allocate(AT, Slots(scheduler, 8)))) == "turning"


def test_a_turn_of_a_project_counts_for_its_slow_webhooks_too() -> None:
    """Its slow webhooks do not keep the place that its quick ones have just used."""
    scheduler = Scheduler(256, 8)
    offer(scheduler, {"quick": Due(AT, "a"), "slow": Due(AT, "a"), "other": Due(AT, "b")})
    scheduler.remember("slow", timed_out=False, duration_ms=1500)
    assert list(scheduler.allocate(AT, Slots(scheduler, 1))) == ["quick"]
    scheduler.begin("quick")
    scheduler.update_due({"quick"}, {})
    assert list(scheduler.allocate(AT, Slots(scheduler, 2))) == ["other", "slow"]


async def test_a_slow_receiver_is_asked_as_often_at_once_as_its_limit_says(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has answered; and right from a restart, which knows that from the log."""
    monkeypatch.setattr(scheduler_module, "SLOW_MS", -1)  # every answer is a slow one
    release = asyncio.Event()
    held: list[str] = []

    async def hold(request: web.Request) -> web.Response:
        held.append(request.headers["X-Almirant-Delivery"])
        await release.wait()
        return web.Response()

    daemon = await service.start()
    webhook = service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    receiver.answer = hold
    for _ in range(2):
        held.clear()
        service.insert(*({"n": number} for number in range(20)))
        await service.until(lambda: len(held) == 8)
        assert daemon.loop.scheduler.slow == {webhook.id}
        assert daemon.loop.in_flight == 8
        release.set()
        await service.until(lambda: not service.log(state="pending"))
        await service.stop()
        release.clear()
        daemon = await service.start()
