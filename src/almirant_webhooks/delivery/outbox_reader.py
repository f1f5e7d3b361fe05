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
from ..storage.engine import Busy, FanOut, OutboxRow, OutboxStore, ReadPlan, Session, StorageError
from .unmarked import Unmarked

ENOUGH_SLOTS = 32  # free slots for which rows are read at once: fewer are not worth a read while more are to come
SLOTS_WAIT = 0.003  # seconds that rows wait for so many slots
MIN_ROWS = 4  # rows that are read at least
MAX_SKIPPED = 0.05  # seconds at most that rows of a project wait in the outbox for a slot of one of its webhooks
MARK_WAIT = 0.001  # seconds until another try to mark rows that somebody had locked; doubled with each try
MAX_MARK_WAIT = 0.020  # seconds
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
        self.may_have_rows = True
        self.may_wait = False  # the news are rows that were left, not a commit that was noticed
        self._outbox = outbox
        self._metrics = metrics
        self._known_types = known_types
        self._next_read_at = 0.0  # monotonic seconds at which rows that were left are looked for
        self._soonest = 0.0  # likewise, if a slot is given back before
        self._paused_until = 0.0
        self._deliveries_per_row = 1.0  # deliveries that a row came to lately
        self._after = ""  # the project that had the last turn
        self._in_line: list[str] = []  # the projects that the read under way looks at
        self._most_in_line = 0
        self._skipped_since: dict[str, float] = {}  # monotonic seconds since which a project's rows wait for a slot
        self._skipping_since: dict[str, float] = {}  # likewise, with the read that is under way
        self._to_mark: deque[FanOut] = deque()  # committed, and not marked in the other file yet
        self._unmarked: set[int] = set()
        self._mark_wait = 0.0  # seconds
        self.refused = Unmarked()
        self._version: int | None = None

    def open(self) -> None:
        """Connect to an outbox apart from the database; raises `Misconfigured` or `Refused`."""
        self._outbox.open()

    def close(self) -> None:
        """Close that connection."""
        self._outbox.close()

    def check_for_commits(self, *, changed: bool) -> None:
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
            self.may_have_rows, self.may_wait = True, False

    def force_read(self) -> None:
        """Have it looked for rows whether or not a commit was noticed: the backstop."""
        self.may_have_rows = True

    def pause(self, seconds: float) -> None:
        """Read and mark nothing for a while, since something is wrong with the outbox's own file."""
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
        """Return which rows to read with so many free slots at a monotonic time, or None to read none now.

        `anyway` tells that there is a transaction in which a commit can be seen that was not noticed yet; `slots` for how many
        of a project's events there are some.
        """
        has_news = self.may_have_rows or (anyway and self.is_in_database)
        if anyway:  # a batch that records attempts gives slots back
            self._next_read_at = min(self._next_read_at, self._soonest)
        if (
            not has_news
            or len(self._unmarked) >= MOST_UNMARKED
            or at < self._paused_until
            or (
                self.may_wait
                and at < self._next_read_at
                and (free < ENOUGH_SLOTS or (self._skipped_since and not anyway))
            )
        ):
            return None
        rows = max(1, int(min(max(free, MIN_ROWS), max_rows) / self._deliveries_per_row))
        skipping_since = self._skipping_since = dict(self._skipped_since)
        # Projects that were passed by are looked at beside as many others.
        self._in_line, self._most_in_line = [], rows + len(skipping_since)

        def limit(project: str) -> int | None:
            self._in_line.append(project)
            free = slots(project) if self._outbox.is_by_project else None  # else its rows would hide those behind them
            if free != 0:
                skipping_since.pop(project, None)
                return free
            since = skipping_since.setdefault(project, at)
            return None if at >= since + MAX_SKIPPED else 0

        return ReadPlan(rows, self._after, self._unmarked | self.refused.rows(), limit, self._most_in_line)

    def next_read(self, at: float) -> float | None:
        """Return after how many seconds rows are worth another read, or None when only news make them so."""
        if at < self._paused_until:
            return self._paused_until - at
        if self._to_mark:
            return self._mark_wait
        if self.may_have_rows:
            return max(0.0, self._next_read_at - at) if self.may_wait else 0.0
        return None

    def next_mark(self, at: float) -> float | None:
        """Return after how many seconds to try again to mark rows, or None when none wait for it."""
        return max(self._mark_wait, self._paused_until - at) if self._to_mark else None

    def read(self, plan: ReadPlan) -> list[OutboxRow] | None:
        """Read rows of an outbox apart; None when nothing can be told as a producer has it locked."""
        try:
            return self._outbox.read(plan)
        except Busy:
            self._next_read_at = self._soonest = time.monotonic() + SLOTS_WAIT
            self.may_wait = True
            return None

    def has_free_space(self) -> bool:
        """Tell whether there is room for marks where the outbox is."""
        return self._outbox.has_free_space()

    def is_empty(self, database: Session, plan: ReadPlan) -> bool:
        """Tell whether nothing that may be read waits in an outbox in the database, and remember it."""
        if not self.is_in_database or self._outbox.is_anything_unread(database, plan):
            return False
        self.may_have_rows, self._skipped_since = False, {}
        return True

    def confirm_read(self, fan_out: FanOut | None, at: float) -> None:
        """Take over what a read came to, once its batch is committed; nothing where no row was there."""
        took_any = fan_out is not None and bool(fan_out.marks)
        saw_all = len(self._in_line) < self._most_in_line
        left = {mark.row.project for mark in fan_out.marks} if fan_out is not None else set()
        if saw_all:  # a producer may have deleted its rows
            left |= self._skipping_since.keys() - set(self._in_line)
        self._skipped_since = {project: since for project, since in self._skipping_since.items() if project not in left}
        self._soonest = at + SLOTS_WAIT
        self._next_read_at = at + (MAX_SKIPPED if self._skipped_since and saw_all and not took_any else SLOTS_WAIT)
        self.may_have_rows, self.may_wait = took_any or bool(self._skipped_since), True
        if fan_out is None or not fan_out.marks:
            self._after = self._in_line[-1] if self._in_line else self._after  # the next ones may have a slot
            return
        self._deliveries_per_row = (self._deliveries_per_row + max(1.0, fan_out.deliveries / len(fan_out.marks))) / 2
        self._after = fan_out.marks[-1].row.project
        if self.is_in_database and not any(mark.is_slow for mark in fan_out.marks):
            self._count(fan_out)
        else:
            fan_out.claims = []  # they have begun; their bodies need not stay
            self._to_mark.append(fan_out)
            self._unmarked.update(mark.row.id for mark in fan_out.marks)

    @property
    def has_marks(self) -> bool:
        """Tell whether answers wait to be written into the outbox."""
        return bool(self._to_mark)

    def mark(self, database: Session) -> None:
        """Write some answers into the outbox, unless somebody else has it locked: a crash before does no harm, as what is there is not taken twice.

        In the database only rows that are larger than an event may be are left.
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
        self._metrics.rejected.inc(len(fan_out.rejected))
        for mark in fan_out.rejected:
            log.warning("event rejected", outbox_id=mark.row.id, reason=mark.rejected_reason)
        unknown = [kind for kind in fan_out.types if kind not in self._known_types]
        self._metrics.unknown_types.inc(len(unknown))
        for kind in sorted(set(unknown)):
            log.warning("event type is not in the catalogue", event_type=kind, events=unknown.count(kind))
        log.debug("fanned out", events=fan_out.events, deliveries=fan_out.deliveries, batch=fan_out.batch)
