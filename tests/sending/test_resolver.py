"""Places for names that are looked up: those that never answer are in nobody's way, whoever turned slow beside them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Collection

import pytest

from almirant_webhooks.rules.urls import Policy
from almirant_webhooks.sending import resolver
from almirant_webhooks.sending.resolver import AddressInfo, Found, Resolver

from ..support.network import PUBLIC

QUICK, OTHERS, SLOWED = 3, 5, 4


class Names:
    """Name servers, of which some give no answer for a while."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.silent: dict[str, threading.Event] = {}
        self._loop = asyncio.get_running_loop()
        self.resolver = Resolver(Policy(), self._look_up)

    def ask(self, hosts: Collection[str]) -> list[asyncio.Task[list[AddressInfo]]]:
        return [asyncio.create_task(self.resolver.resolve(host, 443)) for host in hosts]

    async def answered(self, hosts: Collection[str]) -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*self.ask(hosts))

    async def until_asked(self, count: int) -> set[str]:
        """Wait until so many more look-ups have begun; return their names."""
        async with asyncio.timeout(60):
            return {await self.begun.get() for _ in range(count)}

    def _look_up(self, host: str, _: int) -> Found:
        self._loop.call_soon_threadsafe(self.begun.put_nowait, host)
        if host in self.silent:
            self.silent[host].wait(120)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (PUBLIC, 443))]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Names]:
    for places, count in (("QUICK_PLACES", QUICK), ("OTHER_PLACES", OTHERS), ("SLOWED_PLACES", SLOWED)):
        monkeypatch.setattr(resolver, places, count)
    monkeypatch.setattr(resolver, "QUICK", 60.0)
    names = Names()
    yield names
    for event in names.silent.values():
        event.set()
    await names.resolver.close()


async def test_quick_names_that_turn_slow_beside_names_that_never_answer_leave_their_places(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a good name is looked up; and each of them has its answer as soon as it comes, whoever is in the other places."""
    turning = [f"turning-{number}.example" for number in range(QUICK + SLOWED - 1)]
    await names.answered([*turning, "good.example"])
    await names.until_asked(len(turning) + 1)
    names.resolver.forget()
    dead = [f"dead-{number}.example" for number in range(OTHERS)]
    never, late = threading.Event(), threading.Event()
    names.silent = dict.fromkeys(dead, never) | dict.fromkeys(turning, late)
    hanging = names.ask(dead)
    assert await names.until_asked(OTHERS) == set(dead)
    monkeypatch.setattr(resolver, "QUICK", 0.01)
    slow = names.ask(turning)
    assert await names.until_asked(len(turning)) == set(turning)
    await names.answered(["good.example"])
    late.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*slow)
    assert not any(task.done() for task in hanging)


async def test_names_that_turn_slow_are_looked_up_in_all_places(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """In those of new names too, while nobody else needs them."""
    turning = [f"turning-{number}.example" for number in range(QUICK + OTHERS + SLOWED)]
    await names.answered(turning)
    await names.until_asked(len(turning))
    names.resolver.forget()
    late = threading.Event()
    names.silent = dict.fromkeys(turning, late)
    monkeypatch.setattr(resolver, "QUICK", 0.01)
    slow = names.ask(turning)
    assert await names.until_asked(len(turning)) == set(turning)
    late.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*slow)
