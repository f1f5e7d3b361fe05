"""The retry schedule: when the next attempt is made (contract, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_RETRY_AFTER = timedelta(hours=2)
FREE_INTERRUPTIONS = 2


@dataclass(frozen=True, slots=True)
class Schedule:
    """One wait for each attempt, counted from the end of the attempt before (the first: from fan-out)."""

    waits: tuple[timedelta, ...]

    def next_attempt_at(self, tries: int, finished_at: datetime, retry_after: float | None) -> datetime | None:
        """Return the time of the next attempt after `tries` attempts, or None if no attempts are left.

        `retry_after` (seconds) can delay it, to two hours after `finished_at` at most, but never makes it earlier.
        """
        if tries >= len(self.waits):
            return None
        wait = self.waits[tries]
        if retry_after is not None and retry_after > 0:
            wait = max(wait, min(timedelta(seconds=min(retry_after, MAX_RETRY_AFTER.total_seconds())), MAX_RETRY_AFTER))
        return finished_at + wait
