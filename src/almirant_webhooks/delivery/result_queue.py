"""Attempts that have ended: handed over by the event loop, judged, and kept until a batch has recorded them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime

from ..model import Outcome, Result
from .network import Outage
from .reports import report_problem
from .scheduler import Scheduler


class ResultQueue:
    """Results on their way into the log; in the delivery thread alone, but for `hand_over`.

    Nothing here is durable: what a crash takes is shown as interrupted. `wake` is called once there are enough of them.
    """

    def __init__(self, scheduler: Scheduler, network: Outage, wake: Callable[[], None]) -> None:
        self.waiting: list[Result] = []  # to be recorded, in the order in which they came
        self._stores_bodies = True
        self._holds_back = True  # a stop has no time to tell whose fault it was
        self._scheduler = scheduler
        self._network = network
        self._wake = wake
        self._handed_over: deque[tuple[Result, int]] = deque()
        self._enough = 0  # results for which the thread is woken; 0: it is awake
        self._reported: str | None = None

    def hand_over(self, result: Result, held_ms: int) -> None:
        """Take a result, with how many milliseconds its slot was held; on the event loop."""
        self._handed_over.append((result, held_ms))
        if 0 < self._enough <= len(self._handed_over):
            self._wake()

    @property
    def count(self) -> int:
        """The number of results that were handed over and not taken yet."""
        return len(self._handed_over)

    def wake_at(self, enough: int) -> bool:
        """Tell whether so many were handed over; if not, the thread is woken once they were. 0: it is awake."""
        self._enough = enough
        return len(self._handed_over) >= enough

    def store_bodies(self, keep: bool) -> None:
        """Keep the bodies of answers that are taken from now on, or drop them."""
        self._stores_bodies = keep

    def take(self, now: datetime, at: float) -> None:
        """Give back the slots of what was handed over by a monotonic time, and say once when trouble of our own begins and ends."""
        while self._handed_over:
            result, held_ms = self._handed_over.popleft()
            claim = result.claim
            if result.outcome is Outcome.INTERRUPTED:  # it tells nothing of its webhook
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
            ended if ended.finished_at <= now else ended._replace(finished_at=now) for ended in self.waiting
        ]

    def drop_recorded(self, count: int) -> None:
        """Forget the first of those that waited: they are in the log."""
        del self.waiting[:count]

    def flush(self) -> None:
        """Have all recorded, from now on too, that is held back until it is clear whose fault it was."""
        self._holds_back = False
        self.waiting += self._network.flush()

    def _add(self, results: list[Result]) -> None:
        self.waiting += results
        self._reported = report_problem(self._reported, self._network.reason)
