"""What callers may use: ten wrong tokens a minute from one address, a hundred from all, and half a minute for a body."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web

from ..rules.texts import Text

T = TypeVar("T")

BODY_TIME = 30.0  # seconds
WINDOW = 60.0  # seconds
MOST_FROM_ONE = 10
MOST_FROM_ALL = 100


class Failures:
    """Wrong tokens of the last minute; what is remembered is bounded by what is allowed from all together."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, str]] = deque(maxlen=MOST_FROM_ALL)
        # Digests of tokens that were good: wrong guesses from the same address (a shared proxy, say) do not lock them out.
        self.proven: set[str] = set()
        # So that many guesses at once are counted like those that come one after the other.
        self.one_by_one = asyncio.Lock()

    def note(self, address: str, now: float) -> None:
        """Count a wrong token (`now` in monotonic seconds)."""
        self._seen.append((now, address))

    def wait(self, address: str, now: float) -> int:
        """Return the seconds until a token from this address is looked at again, 0 for at once."""
        while self._seen and self._seen[0][0] <= now - WINDOW:
            self._seen.popleft()
        own = [moment for moment, other in self._seen if other == address]
        if len(own) >= MOST_FROM_ONE:
            return int(own[-MOST_FROM_ONE] + WINDOW - now) + 1
        if len(self._seen) >= MOST_FROM_ALL:
            return int(self._seen[0][0] + WINDOW - now) + 1
        return 0


async def in_time(body: Awaitable[T]) -> T:
    """Return a request's body; raises 408 for one that does not come, which would be held in memory for ever."""
    try:
        async with asyncio.timeout(BODY_TIME):
            return await body
    except TimeoutError:
        raise web.HTTPRequestTimeout(
            text=Text("The body did not come within {body_time:g} s.", body_time=BODY_TIME)
        ) from None
