"""The heartbeat of the event loop: it feeds systemd's watchdog and detects that the loop was blocked."""

from __future__ import annotations

import asyncio
import faulthandler
import time
from collections import deque
from collections.abc import Callable

BEAT = 0.25  # seconds
# Seconds in all that the loop must be blocked during a request for its timeout to be our own fault.
STALL = 1.0
# Seconds of a blocked loop after which the daemon is not ready, until the loop has run for twice as long.
NOT_READY = 2.0


class Heartbeat:
    """Beats every quarter of a second on the event loop, so that a blocked loop misses beats."""

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
            faulthandler.enable(2)  # the watchdog kills by SIGABRT: the journal then shows where the loop was blocked
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
        """Return the seconds by which the latest of the last 60 beats was late."""
        return max(0.0, *self._lags)

    def why_not_ready(self) -> str | None:
        """Return a sentence if the loop is blocked or was blocked a moment ago, else None.

        This detects a loop that is blocked again and again. One that stays blocked does not answer probes at all.
        """
        now = time.monotonic()
        longest = max(
            now - self.last - BEAT, *(end - begin for begin, end in self._stalls if now - end < 2 * NOT_READY), 0.0
        )
        return f"the event loop stood still for {longest:.1f} s" if longest >= NOT_READY else None

    def stalled(self, begin: float, end: float) -> bool:
        """Return whether the loop was blocked for over a second in all between two monotonic times."""
        stood_still = sum(
            max(0.0, min(end, stall_end) - max(begin, stall_begin)) for stall_begin, stall_end in self._stalls
        )
        stood_still += max(0.0, end - max(begin, self.last + BEAT))  # a beat that is overdue now
        return stood_still > STALL
