"""Names to addresses that may be dialled, on threads of its own; a name that never answers delays no other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from .egress import Blocked, Policy, is_allowed

QUICK = 1.0  # seconds that a lookup takes at most whose name is a quick one
QUICK_PLACES = 64
OTHER_PLACES = 256
REMEMBERED = 10_000  # quick names
MOST_ADDRESSES = 4  # of each family: an attempt dials one after the other, and has all of them open at once

Found = list[tuple[Any, ...]]
LookUp = Callable[[str, int], Found]


def _look_up(host: str, family: int) -> Found:
    return socket.getaddrinfo(host, None, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)


def _in_thread(look_up: LookUp, host: str, family: int) -> asyncio.Future[Found]:
    """Look up in a thread that keeps neither the loop nor the end of the process waiting, as an executor's would."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()

    def settle(found: Found, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def run() -> None:
        found: Found = []
        error: Exception | None = None
        try:
            found = look_up(host, family)
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, found, error)

    threading.Thread(target=run, name="look up", daemon=True).start()
    return future


class Resolver(AbstractResolver):
    """Looks a name up once for all who wait for it, with room for names that never answer.

    A name that answered within a second the last time has places that only such names use. A new or slow one uses the
    others, and so does a quick one that turns slow: names that never answer may take all of those and no more.
    """

    def __init__(self, policy: Policy, look_up: LookUp = _look_up) -> None:
        self._policy = policy
        self._look_up = look_up
        self._quick = asyncio.Semaphore(QUICK_PLACES)
        self._others = asyncio.Semaphore(OTHER_PLACES)
        self._pending: dict[tuple[str, int], asyncio.Task[Found]] = {}
        self._quick_names: dict[str, None] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be dialled; raises `Blocked` when it has others alone."""
        key = (host, int(family))
        if key not in self._pending:
            self._pending[key] = task = asyncio.create_task(self._look_up_in_turn(host, int(family)), name="look up")
            task.add_done_callback(lambda done: self._over(key, done))
        found = await asyncio.shield(self._pending[key])
        allowed: list[ResolveResult] = []
        kept: Counter[int] = Counter()
        for kind, _, proto, _, where in found:
            if kept[kind] < MOST_ADDRESSES and is_allowed(str(where[0]), port, self._policy):
                kept[kind] += 1
                allowed.append(
                    ResolveResult(
                        hostname=host,
                        host=str(where[0]),
                        port=port,
                        family=kind,
                        proto=proto,
                        flags=socket.AI_NUMERICHOST,
                    )
                )
        if not allowed:
            raise Blocked
        return allowed

    def is_waiting_for(self, host: str) -> bool:
        """Tell whether a name is being looked up."""
        return any(name == host for name, _ in self._pending)

    async def close(self) -> None:
        """Let the threads go without waiting for names that never answer."""
        pending = list(self._pending.values())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _look_up_in_turn(self, host: str, family: int) -> Found:
        place = self._quick if host in self._quick_names else self._others
        await place.acquire()
        try:
            lookup = _in_thread(self._look_up, host, family)
            await asyncio.wait({lookup}, timeout=QUICK)
            self._remember(host, quick=lookup.done())
            if place is self._quick and not lookup.done():
                await self._others.acquire()
                place.release()
                place = self._others
            return await lookup
        finally:
            place.release()

    def _remember(self, host: str, *, quick: bool) -> None:
        self._quick_names.pop(host, None)
        if quick:
            self._quick_names[host] = None
            if len(self._quick_names) > REMEMBERED:
                del self._quick_names[next(iter(self._quick_names))]

    def _over(self, key: tuple[str, int], task: asyncio.Task[Found]) -> None:
        self._pending.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who waited may have given up meanwhile
