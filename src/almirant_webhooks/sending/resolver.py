"""Resolves host names to addresses that may be dialled, in threads of its own: a name that never answers delays no other."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..ops.threads import Threads
from ..rules import addresses
from ..rules.urls import Blocked, Policy, is_allowed

QUICK = 1.0  # seconds; a name whose last lookup took no longer counts as quick
QUICK_PLACES = 64
OTHER_PLACES = 256
SLOWED_PLACES = 128
REMEMBERED = 10_000  # names: which are quick, and what was found
KEPT = 10.0  # seconds for which what was found is used again
MOST_ADDRESSES = 4  # of each family: an attempt dials one after the other, and has all of them open at once

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]  # as `getaddrinfo` returns them
Found = list[tuple[Any, ...]]
LookUp = Callable[[str, int], Found]


def _look_up(host: str, family: int) -> Found:
    try:
        return socket.getaddrinfo(host, None, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    except socket.gaierror:
        # Without a free file descriptor the C library reports an unknown name. Opening a file tells the two apart.
        os.close(os.open(os.devnull, os.O_RDONLY))
        raise


class Resolver:
    """Looks a name up once for all who wait for it, with room for names that never answer.

    A name that answered within a second the last time has places that only such names use. A new or slow one uses the
    others: names that never answer may take all of those and no more. A quick one that turns slow leaves its place for one of
    the others, or while those are taken for one that only such names use; while these are taken too it keeps its place.
    """

    def __init__(self, policy: Policy, look_up: LookUp = _look_up, threads: Threads | None = None) -> None:
        self._policy = policy
        self._look_up = look_up
        self._pending: dict[str, asyncio.Task[Found]] = {}
        self._known: dict[str, tuple[float, Found]] = {}  # name → until when, and what was found; oldest first
        self._quick_names: dict[str, None] = {}  # oldest first
        self._threads = threads or Threads("look up")
        self._quick = asyncio.Semaphore(QUICK_PLACES)
        self._others = asyncio.Semaphore(OTHER_PLACES)
        self._slowed = asyncio.Semaphore(SLOWED_PLACES)

    async def resolve(self, host: str, port: int, *, any_address: bool = False) -> list[AddressInfo]:
        """Return the addresses of a name, or the literal itself, that may be dialled. Raises `Blocked` if there are none.

        With `any_address` the policy is not asked: the operator has named this host.
        """
        literal = addresses.parse(host)
        if literal is not None:
            family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
            known_addresses: Found = [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(literal), port))]
        else:
            known_addresses = await self._find(host)
        allowed: list[AddressInfo] = []
        per_family: Counter[int] = Counter()
        for family, kind, proto, _, where in known_addresses:
            allowed_here = any_address or is_allowed(str(where[0]), port, self._policy)
            if per_family[family] < MOST_ADDRESSES and allowed_here:
                per_family[family] += 1
                allowed.append((family, kind, proto, "", (where[0], port, *where[2:])))
        if not allowed:
            raise Blocked
        return allowed

    def is_waiting_for(self, host: str) -> bool:
        """Return whether a name is being looked up."""
        return host in self._pending

    def forget(self) -> None:
        """Look names up again at the next connection."""
        self._known.clear()

    async def close(self) -> None:
        """Cancel all lookups, without waiting for names that never answer."""
        pending = list(self._pending.values())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _find(self, host: str) -> Found:
        until, known_addresses = self._known.get(host, (0.0, []))
        if time.monotonic() < until:
            return known_addresses
        if host not in self._pending:
            self._pending[host] = task = asyncio.create_task(self._look_up_in_turn(host), name="look up")
            task.add_done_callback(lambda done: self._over(host, done))
        return await asyncio.shield(self._pending[host])

    async def _look_up_in_turn(self, host: str) -> Found:
        place = self._quick if host in self._quick_names else self._others
        await place.acquire()
        try:
            call = self._threads.call(self._look_up, host, socket.AF_UNSPEC)
            lookup = call.future
            await asyncio.wait({lookup}, timeout=QUICK)
            if not call.begun:
                lookup.cancel()
                raise OSError(errno.EAGAIN, "no thread can be started")
            self._remember(host, quick=lookup.done())
            if place is self._quick and not lookup.done():
                slow = self._slowed if self._others.locked() else self._others
                if not slow.locked():  # so it waits for nothing
                    await slow.acquire()
                    place.release()
                    place = slow
            return await lookup
        finally:
            place.release()

    def _remember(self, host: str, *, quick: bool) -> None:
        self._quick_names.pop(host, None)
        if quick:
            self._quick_names[host] = None
            if len(self._quick_names) > REMEMBERED:
                del self._quick_names[next(iter(self._quick_names))]

    def _over(self, host: str, task: asyncio.Task[Found]) -> None:
        self._pending.pop(host, None)
        if task.cancelled() or task.exception() is not None:  # read it: nobody may be waiting for it any more
            return
        self._known.pop(host, None)
        self._known[host] = (time.monotonic() + KEPT, task.result())
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
