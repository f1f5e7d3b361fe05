"""How much one batch may do: as much as fits a time limit, judged by how long the last batches took."""

from __future__ import annotations

LIMIT_ALONE = 0.030  # seconds that a batch may take
LIMIT_AT_SERVER = 0.060  # seconds, where nobody waits for a file's lock, and a batch goes to a server twenty times
LIMIT_BESIDE_OTHERS = 0.004  # seconds, while other connections commit: a producer waits for the file's lock
LIMIT_BESIDE_STEADY = 0.010  # seconds, while others commit all the time: each of ours then records more for its commit
STEADY = 0.8  # the share of the last looks that found a commit of another connection, from which on they do
LIMIT_BESIDE_AT_SERVER = 0.020  # seconds, while producers commit at a server: what they commit waits for the batch
OTHERS_LAST = 3.0  # seconds after the last commit of another connection during which more are expected
RARE = 1.0  # seconds between two commits from which on a connection is not waited for
MAX_GAP = (
    0.010  # seconds at most between two batches, for a producer to get the file's lock: SQLite has no queue for it
)
CLOSE = 0.010  # seconds between two commits of others that are close to each other
DENSE = 0.25  # the share of their last commits that were, from which on none of them begins a batch within a gap
LEAST, MOST = 8, 256  # attempts that begin with a batch; of one that begins within a gap the least are the most
LEAST_AT_SERVER = (
    64  # there: fewer would cost what the ways to the server cost, and no more be done in the time of a batch
)
ENOUGH = 128  # results, or free slots, for which a batch starts at once while more are to come
ENOUGH_WAIT = 0.003  # seconds that fewer of them wait for more, at least
MAX_WAIT = 0.010  # seconds that they wait at most, for half as long as the last batch took
FLOW_ENOUGH = 32  # results for which a batch starts at once while producers commit one after the other
FLOW_WAIT = (
    0.010  # seconds after a batch that the next one waits for more rows, while producers commit one after the other
)


class Pace:
    """Measures batches and limits the next one. Times are monotonic seconds, passed in; delivery thread alone."""

    def __init__(self, *, at_server: bool = False) -> None:
        self._at_server = at_server
        self._limit_alone = LIMIT_AT_SERVER if at_server else LIMIT_ALONE
        self._seconds_each = 0.0002  # seconds for one attempt that is recorded, begun or inserted
        self._committed_at = self._foreign_at = -OTHERS_LAST
        self._steadiness = 0.0  # a moving average: 1 if each of the last looks found a commit of another connection
        self._density = 0.0  # a moving average: 1 if each of their last commits was close to the one before
        self._seconds_locked = 0.0  # that the last batch had the file's lock
        self._gap_until = 0.0
        self._was_brief = False  # the last batch was
        self.ended_at = 0.0  # of the last batch

    def note_foreign_commit(self, at: float) -> None:
        """Note a commit of another connection to the database; one that commits once a second is not waited for."""
        before, self._committed_at = self._committed_at, at
        self._density += ((at < before + CLOSE) - self._density) / 8
        if at < before + RARE:
            self._foreign_at = at

    def note_look(self, at: float, *, changed: bool) -> None:
        """Note a look for commits of other connections to the database, and whether there was one."""
        self._steadiness += (changed - self._steadiness) / 8
        if changed:
            self.note_foreign_commit(at)

    def limit(self, at: float) -> int:
        """Return how many attempts may begin with the next batch; twice as many may be recorded."""
        seconds = self._beside() if self._others_commit(at) else self._limit_alone
        least = LEAST_AT_SERVER if self._at_server else LEAST
        return max(least, min(MOST, int(seconds / self._seconds_each / 2)))

    @property
    def rest(self) -> float:
        """The seconds after the last batch that fewer results than enough, or rows that a read has left, wait for more."""
        return max(ENOUGH_WAIT, min(self._seconds_locked / 2, MAX_WAIT))

    def _beside(self) -> float:
        if self._at_server:
            return LIMIT_BESIDE_AT_SERVER
        return LIMIT_BESIDE_STEADY if self._steadiness > STEADY else LIMIT_BESIDE_OTHERS

    def hold(self, at: float, ended: int, others: int, *, flows: bool, rests: bool) -> tuple[int, float]:
        """Return for how many results the next batch waits, and for how many seconds at most; 0 or less: it begins now.

        So many attempts have `ended`, and `others` are under way. `flows`: producers commit one after the other, and what
        comes meanwhile goes with one commit of ours. `rests`: there is nothing to read yet.
        """
        if flows:
            return FLOW_ENOUGH, self.ended_at + FLOW_WAIT - at
        enough = min(ENOUGH, (ended + others + 1) // 2)
        return enough, self.ended_at + self.rest - at if ended and rests else 0.0

    def gap(self, at: float) -> float:
        """Return for how many more seconds to leave the file's lock to others: as long as the last batch had it. A server has a queue."""
        return max(0.0, self._gap_until - at) if self._others_commit(at) and not self._at_server else 0.0

    @property
    def may_be_brief(self) -> bool:
        """Whether what was committed within a gap may be read by a brief batch: once in each, unless others commit very often."""
        return not self._was_brief and self._density <= DENSE

    def observe_batch(
        self, locked_at: float, written_at: float, ended_at: float, attempts: int, *, is_brief: bool = False
    ) -> None:
        """Measure a batch: when it got the lock, had written and had committed, and how many attempts it changed in all.

        What an attempt takes is without the wait for the lock and without the commit. A smaller batch has as much of both: with
        them a batch that had to wait would make the next one smaller, and its wait would be shared among fewer.
        """
        self.ended_at, self._was_brief, locked = ended_at, is_brief, ended_at - locked_at
        gap_until = ended_at + min(locked, MAX_GAP)
        self._gap_until = max(self._gap_until, gap_until) if is_brief else gap_until  # the rest of a gap is others'
        if not is_brief:
            self._seconds_locked = locked
        if attempts >= LEAST and not is_brief:  # in a smaller one what every batch costs is most of it
            self._seconds_each += ((written_at - locked_at) / attempts - self._seconds_each) / 8

    def _others_commit(self, at: float) -> bool:
        return at < self._foreign_at + OTHERS_LAST
