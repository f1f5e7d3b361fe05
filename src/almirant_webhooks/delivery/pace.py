"""How much one batch may do: bounded by the time that it keeps others waiting, as the batches before it took."""

from __future__ import annotations

LIMIT_ALONE = 0.030  # seconds that a batch may take
LIMIT_BESIDE_OTHERS = 0.004  # while others commit: a producer waits for the file's lock
OTHERS_LAST = 3.0  # seconds after a commit of somebody else that more may come
RARE = 1.0  # seconds between two commits of whoever is in no hurry
MAX_GAP = 0.010  # seconds between two batches in which a producer gets the file's lock: SQLite lets nobody queue for it
LEAST, MOST = 8, 256  # attempts that begin with a batch


class Pace:
    """In the delivery thread alone; times are monotonic seconds, passed in."""

    def __init__(self) -> None:
        self._seconds_each = 0.0002  # seconds for one attempt that is recorded, begun or inserted
        self._committed_at = self._foreign_at = -OTHERS_LAST
        self._seconds_locked = 0.0  # that the last batch had the file's lock
        self.ended_at = 0.0  # of the last batch

    def note_foreign_commit(self, at: float) -> None:
        """Take note that another connection has committed to the database; one that does so once a second is not waited for."""
        before, self._committed_at = self._committed_at, at
        if at < before + RARE:
            self._foreign_at = at

    def limit(self, at: float) -> int:
        """Return how many attempts may begin with the next batch; twice as many may be recorded."""
        return max(
            LEAST,
            min(MOST, int((LIMIT_BESIDE_OTHERS if self._others_commit(at) else LIMIT_ALONE) / self._seconds_each / 2)),
        )

    def gap(self, at: float) -> float:
        """Return for how many seconds the file's lock is still to be left to others: for as long as the last batch had it."""
        gap = min(self._seconds_locked, MAX_GAP)
        return max(0.0, self.ended_at + gap - at) if self._others_commit(at) else 0.0

    def observe_batch(self, locked_at: float, written_at: float, ended_at: float, attempts: int) -> None:
        """Take over when a batch that recorded, began and inserted so many attempts got the lock, had written, and had committed.

        What an attempt takes is without the wait for the lock and without the commit. A smaller batch has as much of both: with
        them a batch that had to wait would make the next one smaller, and its wait would be shared among fewer.
        """
        self.ended_at, self._seconds_locked = ended_at, ended_at - locked_at
        if attempts >= LEAST:  # in a smaller one what every batch costs is most of it
            self._seconds_each += ((written_at - locked_at) / attempts - self._seconds_each) / 8

    def _others_commit(self, at: float) -> bool:
        return at < self._foreign_at + OTHERS_LAST
