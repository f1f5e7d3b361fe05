"""Decides when to read the outbox and how many rows, and marks the rows that were read.

Everything here runs in the delivery thread. The state is in memory only: a restart reads the outbox from the beginning.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice

import structlog

from .. import clock
from ..ops.metrics import Metrics
from ..storage.engine import Busy, FanOut, OutboxRow, OutboxStore, ReadPlan, Session, StorageError
from .pace import ENOUGH, ENOUGH_WAIT
from .unmarked import Unmarked

FLOW = 4  # rows in one read from which on producers count as committing one after the other
MIN_ROWS = 4  # rows in one read, at least
SMALL_READ = 32  # rows in a batch, up to which half of a read is of projects that have few
LOOKED_AT = 64  # projects that such a read looks at
MAX_SKIPPED = 0.05  # seconds after which rows of a project are read though none of its webhooks has a slot
MARK_WAIT = 0.001  # seconds until the next try to mark rows while a producer has the lock; doubled with each try
MAX_MARK_WAIT = 0.020  # seconds
MARKS_AT_ONCE = 512  # rows
MOST_UNMARKED = 2048  # rows without a mark at which reading stops, as their events stay in memory

log = structlog.get_logger("almirant_webhooks")


class OutboxReader:
    """Plans reads of the outbox, and holds what was read until it is marked."""

    def __init__(self, metrics: Metrics, known_types: frozenset[str], outbox: OutboxStore) -> None:
        self.is_in_database = outbox.is_in_database
        self.may_have_rows = True
        self.may_wait = False  # the rows to read were left by an earlier read; no new commit was noticed
        self._outbox = outbox
        self._metrics = metrics
        self._known_types = known_types
        self._next_read_at = 0.0  # monotonic seconds: when to read rows that an earlier read left
        self._soonest = 0.0  # the same, if a slot becomes free before
        self._paused_until = 0.0
        self.deliveries_per_row = 1.0  # a moving average
        self._after = ""  # the project that had the last turn
        self._of_few: set[int] = set()  # rows of the current read that are read before their turn
        self._in_line: list[str] = []  # the projects that the current read has looked at
        self._most_in_line = 0
        self._skipped_since: dict[str, float] = {}  # project → monotonic seconds since which its rows wait for a slot
        self._skipping_since: dict[str, float] = {}  # the same, as the current read leaves it
        self._to_mark: deque[FanOut] = deque()  # committed, but not marked in the outbox's own file yet
        self._unmarked: set[int] = set()
        self._mark_wait = 0.0  # seconds
        self.is_flowing = False  # the last read took all that there was, and that was several rows
        self._left_rows = False  # the last read took as many as it might
        self._planned = 0  # rows of the current read at most
        self._planned_of: dict[str, int] = {}  # the same of a project that has no slots for more
        self.refused = Unmarked()
        self._version: int | None = None

    def open(self) -> None:
        """Connect to an outbox in a file of its own. Raises `Misconfigured` or `Refused`."""
        self._outbox.open()

    def close(self) -> None:
        """Close that connection."""
        self._outbox.close()

    def check_for_commits(self, *, changed: bool) -> bool:
        """Note and return whether a producer may have committed. `changed`: another connection has committed to the database."""
        if self.is_in_database:
            news = changed
        else:
            before = self._version
            try:
                self._version = self._outbox.changes()
            except StorageError:  # a producer is committing to a file in rollback-journal mode
                before = None
            news = before != self._version
        if news:
            self.may_have_rows, self.may_wait = True, False
        return news

    def has_news(self, at: float) -> bool:
        """Return whether a commit was noticed since the last read, and may be read."""
        return self.may_have_rows and not self.may_wait and self._may_read(at)

    def _may_read(self, at: float) -> bool:
        return at >= self._paused_until and len(self._unmarked) < MOST_UNMARKED

    def force_read(self) -> None:
        """Read at the next opportunity, even if no commit was noticed."""
        self.may_have_rows, self.may_wait = True, False

    def pause(self, seconds: float) -> None:
        """Read and mark nothing for a while, because the outbox's own file has trouble."""
        self._paused_until = time.monotonic() + seconds

    def plan_read(
        self,
        free: int,
        max_rows: int,
        at: float,
        *,
        anyway: bool,
        slots: Callable[[str], int | None] = lambda project: None,
    ) -> ReadPlan | None:
        """Return which rows to read, or None to read none now.

        `free` is the number of free slots, `at` is in monotonic seconds. `anyway`: there will be a transaction in any case,
        which may see a commit that was not noticed yet. `slots` returns how many of a project's events have slots, or None.
        With `ENOUGH` free slots rows that an earlier read left wait for nothing.
        """
        has_news = self.may_have_rows or (anyway and self.is_in_database)
        if anyway:  # a batch that records results frees slots
            self._next_read_at = min(self._next_read_at, self._soonest)
        if (
            not has_news
            or not self._may_read(at)
            or (self.may_wait and at < self._next_read_at and (free < ENOUGH or (self._skipped_since and not anyway)))
        ):
            return None
        rows = max(1, int(min(max(free, MIN_ROWS), max_rows) / self.deliveries_per_row))
        self._planned, self._planned_of = rows, {}
        skipping_since = self._skipping_since = dict(self._skipped_since)
        # Skipped projects are looked at in addition to the others.
        is_small = max_rows <= SMALL_READ and rows > 1 and self._outbox.tells_few
        looked_at = max(rows, LOOKED_AT) if is_small else rows
        self._in_line, self._most_in_line = [], looked_at + len(skipping_since)
        # Those that wait longest come first. Half of the rows at most are of projects without a free slot.
        overdue = (project for project, since in skipping_since.items() if at >= since + MAX_SKIPPED)
        read_anyway = set(islice(overdue, max(1, rows // 2)))
        each = max(1, rows // 2 // max(1, len(read_anyway)))

        def limit(project: str) -> int | None:
            self._in_line.append(project)
            # Without an index by project, rows that are left out would hide the rows behind them.
            free = slots(project) if self._outbox.is_by_project else None
            if free != 0:
                skipping_since.pop(project, None)
                if free is not None:
                    self._planned_of[project] = free
                return free
            skipping_since.setdefault(project, at)
            return each if project in read_anyway else 0

        excluded, of_few = self._unmarked | self.refused.rows(), rows // 2 if is_small else 0
        self._of_few = set()
        return ReadPlan(rows, self._after, excluded, limit, self._most_in_line, of_few, self._of_few.update)

    def next_read(self, at: float) -> float | None:
        """Return the seconds until the next read, or None to wait for a commit."""
        if at < self._paused_until:
            return self._paused_until - at
        if self._to_mark:
            return self._mark_wait
        if self.may_have_rows:
            return max(0.0, self._next_read_at - at) if self.may_wait else 0.0
        return None

    def next_mark(self, at: float) -> float | None:
        """Return the seconds until the next try to mark rows, or None if there are none."""
        return max(self._mark_wait, self._paused_until - at) if self._to_mark else None

    def read(self, plan: ReadPlan) -> list[OutboxRow] | None:
        """Read rows of an outbox in a file of its own; None while a producer has it locked. Raises `StorageError`."""
        try:
            return self._outbox.read(plan)
        except Busy:
            self._next_read_at = self._soonest = time.monotonic() + ENOUGH_WAIT
            self.may_wait = True
            return None

    def has_free_space(self) -> bool:
        """Return whether the outbox's disk has room for marks."""
        return self._outbox.has_free_space()

    def is_empty(self, database: Session, plan: ReadPlan) -> bool:
        """Return whether an outbox in the database has no rows for this plan, and remember that."""
        if not self.is_in_database or self._left_rows or self._outbox.is_anything_unread(database, plan):
            return False
        self.may_have_rows, self._skipped_since = False, {}
        return True

    def confirm_read(
        self, fan_out: FanOut | None, at: float, rest: float = ENOUGH_WAIT, *, is_brief: bool = False
    ) -> None:
        """Update the state by what a read brought, after the commit of its batch. None: there were no rows.

        Rows that it left wait `rest` seconds for free slots. A brief batch says nothing of how producers commit.
        """
        took_any = fan_out is not None and bool(fan_out.marks)
        taken = Counter([mark.row.project for mark in fan_out.marks] if fan_out is not None else ())
        is_full = any(count >= self._planned_of.get(project, count + 1) for project, count in taken.items())
        self._left_rows = is_full or taken.total() >= self._planned
        if not is_brief:
            self.is_flowing = taken.total() >= FLOW and not (self._left_rows or self._skipping_since)
        saw_all = len(self._in_line) < self._most_in_line
        left = set(taken)
        if saw_all:  # a producer may have deleted its rows
            left |= self._skipping_since.keys() - set(self._in_line)
        self._skipped_since = {project: since for project, since in self._skipping_since.items() if project not in left}
        self._soonest = at + rest
        self._next_read_at = at + (MAX_SKIPPED if self._skipped_since and saw_all and not took_any else rest)
        self.may_have_rows, self.may_wait = took_any or bool(self._skipped_since), True
        if fan_out is None or not fan_out.marks:
            self._after = self._in_line[-1] if self._in_line else self._after  # the projects behind may have a slot
            return
        self.deliveries_per_row = (self.deliveries_per_row + max(1.0, fan_out.deliveries / len(fan_out.marks))) / 2
        turns = [mark.row for mark in fan_out.marks if mark.row.id not in self._of_few]
        self._after = turns[-1].project if turns else self._after
        if self.is_in_database and not any(mark.is_slow for mark in fan_out.marks):
            self._count(fan_out)
        else:
            fan_out.claims = []  # they have begun, and their bodies need memory
            self._to_mark.append(fan_out)
            self._unmarked.update(mark.row.id for mark in fan_out.marks)

    @property
    def has_marks(self) -> bool:
        """Whether rows wait to be marked."""
        return bool(self._to_mark)

    def mark(self, database: Session) -> None:
        """Mark some rows in the outbox, in one transaction, unless a producer has it locked. Raises `StorageError`.

        A crash before this does no harm: an event that is in the database is not taken again. Of an outbox in the database
        only rows that are slow to rewrite are left to mark: their payload is larger than an event may be.
        """
        if not self._to_mark or time.monotonic() < self._paused_until:
            return
        batch = list(self._next_marks())
        try:
            self._outbox.mark(database, batch, clock.now())
        except Busy:
            self._mark_wait = min(max(MARK_WAIT, 2 * self._mark_wait), MAX_MARK_WAIT)
            return
        self._mark_wait = 0.0
        for fan_out in batch:
            self._to_mark.popleft()
            self._unmarked.difference_update(mark.row.id for mark in fan_out.marks)
            self._count(fan_out)

    def _next_marks(self) -> Iterable[FanOut]:
        left = MARKS_AT_ONCE
        for fan_out in self._to_mark:
            yield fan_out
            left -= len(fan_out.marks)
            if left <= 0:
                return

    def _count(self, fan_out: FanOut) -> None:
        self.refused.add(fan_out)
        self._metrics.fan_out.observe(fan_out.seconds)
        self._metrics.events.inc(fan_out.events)
        self._metrics.deliveries.inc(fan_out.deliveries)
        self._metrics.duplicates.inc(fan_out.duplicates)
        self._metrics.unmatched.inc(fan_out.unmatched)
        self._metrics.filtered_out.inc(fan_out.filtered_out)
        self._metrics.rejected.inc(len(fan_out.rejected))
        for mark in fan_out.rejected:
            log.warning("event rejected", outbox_id=mark.row.id, reason=mark.rejected_reason)
        unknown = [kind for kind in fan_out.types if kind not in self._known_types]
        self._metrics.unknown_types.inc(len(unknown))
        for kind in sorted(set(unknown)):
            log.warning("event type is not in the catalogue", event_type=kind, events=unknown.count(kind))
        log.debug("fanned out", events=fan_out.events, deliveries=fan_out.deliveries, batch=fan_out.batch)
