"""What is known of the outbox: whether it has news, how many rows are worth reading now, and which answers are not in it yet.

In the delivery thread alone. Nothing here is durable: a start reads the outbox anew.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from .. import clock
from ..ops.metrics import Metrics
from ..storage.engine import Asked, Busy, FanOut, OutboxRow, OutboxStore, Session, StorageError
from .unmarked import Unmarked

WORTH = 32  # free slots for which rows are read at once: for fewer a read does not pay while there are more to come
PATIENCE = 0.003  # seconds that rows wait for so many
FEWEST = 4  # rows that are read at least
PASSED_BY = 0.05  # seconds at most that rows of a project wait in the outbox for a slot of one of its webhooks
MARK_AGAIN, AT_LAST = (
    0.001,
    0.020,
)  # seconds after which rows are marked that somebody had locked: longer with each time
MARKS_AT_ONCE = 512
MOST_UNMARKED = 2048  # rows without a mark, with which no more are read: their events are in memory until then

log = structlog.get_logger("almirant_webhooks")


class OutboxReader:
    """Says what to read, and keeps what was read until it is marked."""

    def __init__(
        self,
        metrics: Metrics,
        known_types: frozenset[str],
        outbox: OutboxStore,
    ) -> None:
        self.is_in_database = outbox.is_in_database
        self.has_news = True
        self.may_wait = False  # the news are rows that were left, not a commit that was noticed
        self._outbox = outbox
        self._metrics = metrics
        self._known_types = known_types
        self._look_at = 0.0  # monotonic seconds at which rows that were left are looked for
        self._soonest = 0.0  # likewise, if a slot is given back before
        self._paused_until = 0.0
        self._each = 1.0  # deliveries that a row came to lately
        self._after = ""  # the project that had the last turn
        self._in_line: list[str] = []  # the projects that the read under way looks at
        self._most_in_line = 0
        self._passed_by: dict[str, float] = {}  # monotonic seconds since which a project's rows wait for a slot
        self._passing_by: dict[str, float] = {}  # likewise, with the read that is under way
        self._done: deque[FanOut] = deque()  # committed, and not marked in the other file yet
        self._unmarked: set[int] = set()
        self._mark_again = 0.0  # seconds
        self.refused = Unmarked()
        self._version: int | None = None

    def open(self) -> None:
        """Connect to an outbox apart from the database; raises `Misconfigured` or `Refused`."""
        self._outbox.open()

    def close(self) -> None:
        """Close that connection."""
        self._outbox.close()

    def look(self, *, changed: bool) -> None:
        """Take note of news: `changed` tells that another connection has committed to the database."""
        if self.is_in_database:
            news = changed
        else:
            before = self._version
            try:
                self._version = self._outbox.changes()
            except StorageError:  # a file in rollback-journal mode while a producer commits
                before = None
            news = before != self._version
        if news:
            self.has_news, self.may_wait = True, False

    def look_anew(self) -> None:
        """Have it looked for rows whether or not a commit was noticed: the backstop."""
        self.has_news = True

    def pause(self, seconds: float) -> None:
        """Read and mark nothing for a while, since something is wrong with the outbox's own file."""
        self._paused_until = time.monotonic() + seconds

    def asked(
        self,
        free: int,
        most: int,
        at: float,
        *,
        anyway: bool,
        slots: Callable[[str], int | None] = lambda project: None,
    ) -> Asked | None:
        """Return which rows to read with so many free slots at a monotonic time, or None to read none now.

        `anyway` tells that there is a transaction in which a commit can be seen that was not noticed yet; `slots` for how many
        of a project's events there are some.
        """
        has_news = self.has_news or (anyway and self.is_in_database)
        if anyway:  # a batch that records attempts gives slots back
            self._look_at = min(self._look_at, self._soonest)
        if (
            not has_news
            or len(self._unmarked) >= MOST_UNMARKED
            or at < self._paused_until
            or (self.may_wait and at < self._look_at and (free < WORTH or (self._passed_by and not anyway)))
        ):
            return None
        rows = max(1, int(min(max(free, FEWEST), most) / self._each))
        passing_by = self._passing_by = dict(self._passed_by)
        # Projects that were passed by are looked at beside as many others.
        self._in_line, self._most_in_line = [], rows + len(passing_by)

        def limit(project: str) -> int | None:
            self._in_line.append(project)
            free = slots(project) if self._outbox.is_by_project else None  # else its rows would hide those behind them
            if free != 0:
                passing_by.pop(project, None)
                return free
            since = passing_by.setdefault(project, at)
            return None if at >= since + PASSED_BY else 0

        return Asked(rows, self._after, self._unmarked | self.refused.rows(), limit, self._most_in_line)

    def next_look(self, at: float) -> float | None:
        """Return after how many seconds rows are worth another read, or None when only news make them so."""
        if at < self._paused_until:
            return self._paused_until - at
        if self._done:
            return self._mark_again
        if self.has_news:
            return max(0.0, self._look_at - at) if self.may_wait else 0.0
        return None

    def next_mark(self, at: float) -> float | None:
        """Return after how many seconds to try again to mark rows, or None when none wait for it."""
        return max(self._mark_again, self._paused_until - at) if self._done else None

    def read(self, asked: Asked) -> list[OutboxRow] | None:
        """Read rows of an outbox apart; None when nothing can be told as a producer has it locked."""
        try:
            return self._outbox.read(asked)
        except Busy:
            self._look_at = self._soonest = time.monotonic() + PATIENCE
            self.may_wait = True
            return None

    def has_room(self) -> bool:
        """Tell whether there is room for marks where the outbox is."""
        return self._outbox.has_room()

    def is_empty(self, database: Session, asked: Asked) -> bool:
        """Tell whether nothing that may be read waits in an outbox in the database, and remember it."""
        if not self.is_in_database or self._outbox.is_anything_unread(database, asked):
            return False
        self.has_news, self._passed_by = False, {}
        return True

    def took(self, done: FanOut | None, at: float) -> None:
        """Take over what a read came to, once its batch is committed; nothing where no row was there."""
        took_any = done is not None and bool(done.marks)
        saw_all = len(self._in_line) < self._most_in_line
        left = {answer.row.project for answer in done.marks} if done is not None else set()
        if saw_all:  # a producer may have deleted its rows
            left |= self._passing_by.keys() - set(self._in_line)
        self._passed_by = {project: since for project, since in self._passing_by.items() if project not in left}
        self._soonest = at + PATIENCE
        self._look_at = at + (PASSED_BY if self._passed_by and saw_all and not took_any else PATIENCE)
        self.has_news, self.may_wait = took_any or bool(self._passed_by), True
        if done is None or not done.marks:
            self._after = self._in_line[-1] if self._in_line else self._after  # the next ones may have a slot
            return
        self._each = (self._each + max(1.0, done.deliveries / len(done.marks))) / 2
        self._after = done.marks[-1].row.project
        if self.is_in_database and not any(answer.is_slow for answer in done.marks):
            self._count(done)
        else:
            done.claims = []  # they have begun; their bodies need not stay
            self._done.append(done)
            self._unmarked.update(answer.row.id for answer in done.marks)

    @property
    def has_marks(self) -> bool:
        """Tell whether answers wait to be written into the outbox."""
        return bool(self._done)

    def mark(self, database: Session) -> None:
        """Write some answers into the outbox, unless somebody else has it locked: a crash before does no harm, as what is there is not taken twice.

        In the database only rows that are larger than an event may be are left.
        """
        if not self._done or time.monotonic() < self._paused_until:
            return
        batch = list(self._next_marks())
        try:
            self._outbox.mark(database, batch, clock.now())
        except Busy:
            self._mark_again = min(max(MARK_AGAIN, 2 * self._mark_again), AT_LAST)
            return
        self._mark_again = 0.0
        for done in batch:
            self._done.popleft()
            self._unmarked.difference_update(answer.row.id for answer in done.marks)
            self._count(done)

    def _next_marks(self) -> Iterable[FanOut]:
        left = MARKS_AT_ONCE
        for done in self._done:
            yield done
            left -= len(done.marks)
            if left <= 0:
                return

    def _count(self, done: FanOut) -> None:
        self.refused.add(done)
        self._metrics.fan_out.observe(done.seconds)
        self._metrics.events.inc(done.events)
        self._metrics.deliveries.inc(done.deliveries)
        self._metrics.duplicates.inc(done.duplicates)
        self._metrics.unmatched.inc(done.unmatched)
        self._metrics.rejected.inc(len(done.rejected))
        for answer in done.rejected:
            log.warning("event rejected", outbox_id=answer.row.id, reason=answer.rejected_reason)
        unknown = [kind for kind in done.types if kind not in self._known_types]
        self._metrics.unknown_types.inc(len(unknown))
        for kind in sorted(set(unknown)):
            log.warning("event type is not in the catalogue", event_type=kind, events=unknown.count(kind))
        log.debug("fanned out", events=done.events, deliveries=done.deliveries, batch=done.batch)
