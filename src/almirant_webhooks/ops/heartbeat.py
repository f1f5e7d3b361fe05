"""The heartbeat of the event loop: feeds systemd's watchdog and notices when the loop was blocked."""

from __future__ import annotations

import asyncio
import faulthandler
import time
from collections import deque
from collections.abc import Callable

BEAT = 0.25
# A request whose time limit ran out while the loop stood still for this long (seconds, in all) was not given its time.
STALL = 1.0
# Seconds of a blocked loop after which the daemon is not ready, until the loop has run freely for twice as long.
NOT_READY = 2.0


class Heartbeat:
    """Beats every quarter of a second from the loop itself, so that a blocked loop misses its beats."""

    def __init__(self, beat: Callable[[], None] | None = None, every: float = BEAT) -> None:
        self._beat = beat
        self._every = every
        self._last_feed = 0.0
        self.last = time.monotonic()
        self._stalls: deque[tuple[float, float]] = deque(maxlen=1000)
        self._lags: deque[float] = deque([0.0], maxlen=60)

    async def run(self) -> None:
        """Beat until cancelled."""
        if self._beat is not None:
            faulthandler.enable(2)  # the watchdog ends a blocked loop by SIGABRT: the journal shows where it stood
        self.last = time.monotonic()
        while True:
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            if now - self.last > 2 * BEAT:
                self._stalls.append((self.last + BEAT, now))
            self._lags.append(now - self.last - BEAT)
            self.last = now
            if self._beat is not None and now - self._last_feed >= self._every:
                self._beat()
                self._last_feed = now

    def lag(self) -> float:
        """Return by how many seconds the latest of the last 60 beats was late."""
        return max(0.0, *self._lags)

    def why_not_ready(self) -> str | None:
        """Say that the loop stands still, or has stood still a moment ago, or None.

        A loop that stands still answers nobody: that is how a probe with a time limit of its own sees it. This is for
        one that goes on by fits and starts.
        """
        now = time.monotonic()
        longest = max(
            now - self.last - BEAT, *(end - begin for begin, end in self._stalls if now - end < 2 * NOT_READY), 0.0
        )
        return f"the event loop stood still for {longest:.1f} s" if longest >= NOT_READY else None

    def stalled(self, begin: float, end: float) -> bool:
        """Tell whether the loop stood still for over a second, in all, between two monotonic times."""
        stood_still = sum(
            max(0.0, min(end, stall_end) - max(begin, stall_begin)) for stall_begin, stall_end in self._stalls
        )
        stood_still += max(0.0, end - max(begin, self.last + BEAT))  # a beat that is overdue as we speak
        return stood_still > STALL
