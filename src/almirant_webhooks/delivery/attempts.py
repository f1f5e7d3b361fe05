"""The requests of batches: each prepared before its batch is committed, sent after that."""

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
    """What makes a claim's request."""

    def prepare(self, claim: Claim) -> Prepared | Result:
        """Return the request as bytes, or the result if no request can be made."""

    def begin(self, prepared: Prepared, ended: Callable[[Result], None]) -> asyncio.Future[Any]:
        """Send a request and call `ended` with its result. Never raises because of the receiver."""


class Attempts:
    """The requests under way. Everything runs on the event loop; the database has each of them as an open attempt.

    `ended` is called with each result and the milliseconds that its slot was held, the reading of the body included.
    """

    def __init__(self, sender: Sends, ended: Callable[[Result, int], None]) -> None:
        self._sender = sender
        self._ended = ended
        self._prepared: list[Prepared | Result] = []  # of the batch that is not committed yet
        self._under_way: dict[str, asyncio.Future[Any]] = {}  # by delivery
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""
        return len(self._under_way)

    def prepare(self, claims: Sequence[Claim]) -> None:
        """Prepare the requests of a batch, whose commit may be under way; then `send` or `drop` is called."""
        self._prepared = [self._prepare(claim) for claim in claims]

    def _prepare(self, claim: Claim) -> Prepared | Result:
        try:
            return self._sender.prepare(claim)
        except Exception as error:  # a fault of ours must not strand the delivery
            return interrupted_by_us(claim, error, clock.now())

    def drop(self) -> None:
        """Drop the requests of a batch whose commit failed."""
        self._prepared = []

    def send(self) -> None:
        """Send the requests of the batch, which is committed."""
        at, batch = time.monotonic(), self._prepared
        self._prepared = []
        for prepared in batch:
            if isinstance(prepared, Result):
                self._ended(prepared, 0)
                continue
            delivery_id = prepared.claim.delivery_id
            try:
                self._under_way[delivery_id] = self._sender.begin(prepared, functools.partial(self._end, at))
            except Exception as error:
                self._ended(interrupted_by_us(prepared.claim, error, clock.now()), 0)
        if self._under_way:
            self._idle.clear()

    async def finish(self, limit: float) -> int:
        """Wait for the requests under way, `limit` seconds at most; drop the rest and return how many those were."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._idle.wait()
        return self.abandon()

    def abandon(self) -> int:
        """Drop the requests under way and return how many those were. The next start records them as interrupted."""
        left = list(self._under_way.values())
        for under_way in left:
            under_way.cancel()
        self._under_way.clear()
        self._idle.set()
        return len(left)

    def _end(self, at: float, result: Result) -> None:
        if self._under_way.pop(result.claim.delivery_id, None) is None:  # it was dropped meanwhile
            return
        if not self._under_way:
            self._idle.set()
        self._ended(result, round((time.monotonic() - at) * 1000))
