"""Results of attempts, from the event loop to the batch that records them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime

from ..model import Outcome, Result
from .network import Outage
from .reports import report_problem
from .scheduler import Scheduler


class ResultQueue:
    """Results that are not recorded yet. All methods but `hand_over` run in the delivery thread.

    They are in memory only: after a crash their attempts are recorded as interrupted. `wake` is called once there are enough.
    """

    def __init__(self, scheduler: Scheduler, network: Outage, wake: Callable[[], None]) -> None:
        self.waiting: list[Result] = []  # to be recorded, oldest first
        self._stores_bodies = True
        self._holds_back = True  # false while stopping: there is no time to find out whose fault a failure was
        self._scheduler = scheduler
        self._network = network
        self._wake = wake
        self._handed_over: deque[tuple[Result, int]] = deque()
        self._enough = 0  # the number of results at which to wake the thread; 0 while it is awake
        self._reported: str | None = None

    def hand_over(self, result: Result, held_ms: int) -> None:
        """Add a result, and the milliseconds that its slot was held. Call it on the event loop."""
        self._handed_over.append((result, held_ms))
        if 0 < self._enough <= len(self._handed_over):
            self._wake()

    @property
    def count(self) -> int:
        """The number of results handed over and not taken yet."""
        return len(self._handed_over)

    def wake_at(self, enough: int) -> bool:
        """Return whether there are `enough` results; if not, wake the thread once there are. 0 means that it is awake."""
        self._enough = enough
        return len(self._handed_over) >= enough

    def store_bodies(self, keep: bool) -> None:
        """Keep or drop the bodies of the answers that are taken from now on."""
        self._stores_bodies = keep

    def take(self, now: datetime, at: float) -> None:
        """Take what was handed over: free its slots, judge it, and put what can be recorded into `waiting`.

        `at` is in monotonic seconds.
        """
        while self._handed_over:
            result, held_ms = self._handed_over.popleft()
            claim = result.claim
            if result.outcome is Outcome.INTERRUPTED:  # says nothing about its webhook
                self._scheduler.release(claim.webhook_id)
            else:
                timed_out = result.outcome is Outcome.TIMEOUT
                self._scheduler.end(claim.webhook_id, timed_out=timed_out, duration_ms=held_ms)
            if not self._stores_bodies:
                result = result._replace(response_body=b"", body_cut=bool(result.response_body))
            self._add(self._network.observe(result, at))
        self._add(
            self._network.evaluate(self._scheduler.in_flight.total(), at) if self._holds_back else self._network.flush()
        )
        # An attempt that ended before the clock was set back must not wait by the old time.
        self.waiting = [
            result if result.finished_at <= now else result._replace(finished_at=now) for result in self.waiting
        ]

    def drop_recorded(self, count: int) -> None:
        """Drop the first `count` of `waiting`, which are recorded."""
        del self.waiting[:count]

    def flush(self) -> None:
        """Stop holding results back, now and later."""
        self._holds_back = False
        self.waiting += self._network.flush()

    def _add(self, results: list[Result]) -> None:
        self.waiting += results
        reason = self._network.reason
        if reason != self._reported:
            self._reported = report_problem(self._reported, reason)
