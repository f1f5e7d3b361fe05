"""Until when the delivery thread rests, where nothing wakes it: what is next by the clock."""

from __future__ import annotations

from datetime import datetime

from .. import clock
from .commits import Commits
from .health import PAUSE
from .network import Outage
from .outbox_reader import OutboxReader
from .scheduler import Scheduler

MAX_IDLE = 2.0  # seconds between two reads of the clock at most, so that a change of the clock is noticed


class Rest:
    """When there is something to do by the clock. Times are monotonic seconds, passed in; delivery thread alone."""

    def __init__(
        self, scheduler: Scheduler, reader: OutboxReader, network: Outage, commits: Commits, poll_interval: float
    ) -> None:
        self._scheduler = scheduler
        self._reader = reader
        self._network = network
        self._commits = commits
        self._poll_interval = poll_interval
        self._polled_at = 0.0
        self._until = 0.0
        self._reads = True  # false while stopping

    def begin(self, at: float, now: datetime, *, is_busy: bool, stopping: bool) -> float:
        """Return the seconds until the next due time, read of the outbox, or check of the clock, whichever is first; 0 if busy."""
        if at >= self._polled_at + self._poll_interval:  # some commits are not noticed
            self._polled_at = at
            self._reader.force_read()
        if is_busy:
            return 0.0
        waits = [MAX_IDLE, self._polled_at + self._poll_interval - at, self._network.next_check(at)]
        waits.append(self._scheduler.rates.seconds_to_place(at))
        next_due = None if stopping else self._scheduler.next_due()
        if next_due is not None:
            is_due = next_due <= clock.text(now)  # it has no free slot: a result frees one, and wakes this thread
            waits.append(PAUSE if is_due else clock.seconds_until(next_due, now) + 0.001)
        waits.append(self._reader.next_mark(at) if stopping else self._reader.next_read(at))
        self._reads = not stopping
        self._until = at + min(wait for wait in waits if wait is not None)
        return self.left(at)

    def end(self) -> None:
        """Have the next step look at everything: something has changed that `left` does not know of."""
        self._until = 0.0

    def left(self, at: float) -> float:
        """Return the seconds until the end of the rest, or until the next look for a commit that is expected; 0 if it is over."""
        if at >= self._until or (self._reads and self._reader.has_news(at)):
            return 0.0
        look = self._commits.next_look(at)
        return self._until - at if look is None else min(self._until - at, look)
