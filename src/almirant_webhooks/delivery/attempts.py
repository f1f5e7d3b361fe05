"""Requests under way: prepared while their batch is committed, made once it is."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from .. import clock
from ..model import Claim, Result
from ..sending.own_faults import interrupted_by_us
from ..sending.sender import Prepared


class Sends(Protocol):
    """What makes the requests of claims."""

    def prepare(self, claim: Claim) -> Prepared | Result:
        """Write a request out, or return the result where none is made."""

    def begin(self, prepared: Prepared, ended: Callable[[Result], None]) -> asyncio.Future[Any]:
        """Make a request and tell its result; never raises for what a receiver did."""


class Attempts:
    """The requests under way, on the event loop's thread; nothing here is durable, and the database knows of each.

    `ended` is told each result, with how many milliseconds its slot was held: a body that drips holds it too.
    """

    def __init__(self, sender: Sends, ended: Callable[[Result, int], None]) -> None:
        self._sender = sender
        self._ended = ended
        self._prepared: dict[int, list[Prepared | Result]] = {}  # by batch
        self._under_way: dict[str, asyncio.Future[Any]] = {}  # by delivery
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""
        return len(self._under_way)

    def prepare(self, batch: int, claims: Sequence[Claim]) -> None:
        """Write out the requests of a batch that is being committed."""
        self._prepared[batch] = [self._prepare(claim) for claim in claims]

    def _prepare(self, claim: Claim) -> Prepared | Result:
        try:
            return self._sender.prepare(claim)
        except Exception as error:  # a fault of ours must not strand the delivery
            return interrupted_by_us(claim, error, clock.now())

    def drop(self, batch: int) -> None:
        """Throw away the requests of a batch that was not committed."""
        self._prepared.pop(batch, None)

    def send(self, batch: int) -> None:
        """Make the requests of a batch: it is committed, and from now on a crash knows of them."""
        at = time.monotonic()
        for prepared in self._prepared.pop(batch):
            if isinstance(prepared, Result):
                self._ended(prepared, 0)
                continue
            delivery_id = prepared.claim.delivery_id
            try:
                self._under_way[delivery_id] = self._sender.begin(prepared, functools.partial(self._end, at))
            except Exception as error:
                self._ended(interrupted_by_us(prepared.claim, error, clock.now()), 0)
        self._settle()

    def _settle(self) -> None:
        if self._under_way:
            self._idle.clear()
        else:
            self._idle.set()

    async def finish(self, limit: float) -> int:
        """Wait for what is under way, `limit` seconds at most, and drop the rest; return how many those were."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._idle.wait()
        return self.abandon()

    def abandon(self) -> int:
        """Drop what is under way, without a result: the next start shows it as interrupted; return how many those were."""
        left = list(self._under_way.values())
        for under_way in left:
            under_way.cancel()
        self._under_way.clear()
        return len(left)

    def _end(self, at: float, result: Result) -> None:
        if self._under_way.pop(result.claim.delivery_id, None) is None:  # it was dropped meanwhile
            return
        self._settle()
        self._ended(result, round((time.monotonic() - at) * 1000))
