"""A shortage of our own (files, memory, threads): fewer requests begin until there is enough again.

Everything here runs in the delivery thread. Times are monotonic seconds, passed in. The state is in memory only.
"""

from __future__ import annotations

REST = 1.0  # seconds after a sign of shortage in which nothing begins
QUIET = 10.0  # seconds without another sign, and with an answer, after which it is over


class Shortage:
    """Limits requests: after a rest to half of those that were under way, then to twice as many with each good second."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._limit = 0
        self._last = 0.0
        self._answered = False

    def observe(self, reason: str, in_flight: int, at: float) -> None:
        """Note a sign of shortage, with so many requests under way."""
        if self.reason is None or at >= self._last + REST:  # the first of many at once
            self._limit = max(1, in_flight // 2)
        self.reason, self._last, self._answered = reason, at, False

    def observe_answer(self, at: float) -> None:
        """Note an answer: there was enough for that request."""
        self._answered = self._answered or at >= self._last + REST

    def allowed_starts(self, limit: int, in_flight: int, at: float) -> int:
        """Return how many requests may begin, `limit` at most."""
        if self.reason is None:
            return limit
        since = at - self._last - REST
        if since < 0:
            return 0
        if since >= QUIET and self._answered:
            self.reason = None
            return limit
        return min(limit, max(0, (self._limit << min(30, int(since))) - in_flight))

    def next_check(self, at: float) -> float | None:
        """Return the seconds until more may begin, or None."""
        return None if self.reason is None else max(0.01, self._last + REST - at) if at < self._last + REST else REST
