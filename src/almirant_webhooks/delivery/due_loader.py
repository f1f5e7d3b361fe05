"""Reads what is due at which webhook, and what began within its rate limit: again whenever webhooks have changed, the clock was set back, or time has passed.

Everything here runs in the delivery thread. The scheduler holds what is read; the database is its source.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from .. import clock
from ..storage.engine import BEGIN, DeliveryStore, Place, Session
from .scheduler import Scheduler

RELOAD_EVERY = timedelta(seconds=30)
PART = 500  # webhooks in one read, which takes 1 to 2 ms
STARTS_PART = 10_000  # attempts that fill the spans of rate limits in one read, some 5 ms
LEAST_JUMP = timedelta(seconds=2)  # smaller steps are the usual corrections of a clock

log = structlog.get_logger("almirant_webhooks")


@dataclass
class ClockJump:
    """A clock that was set back, and how far the due times have been shifted."""

    by: timedelta
    now: datetime  # by the new clock, when it was noticed
    moment: float  # the same in monotonic seconds
    place: Place | None = BEGIN  # where the next step goes on; None once all are shifted
    moved: int = 0  # deliveries


class DueLoader:
    """Keeps the scheduler's due times equal to the database's. It reads in parts, and batches are written between them."""

    def __init__(self, scheduler: Scheduler, store: DeliveryStore) -> None:
        self._scheduler = scheduler
        self._store = store
        self._loaded = clock.now()
        self._clock = (self._loaded, time.monotonic())
        self._clock_jump: ClockJump | None = None
        self._revision = -1
        self._after: str | None = None  # the last webhook that was read; None while nothing is being read
        self._again = False  # start over after the reading under way
        self._to_shorten: tuple[Sequence[timedelta], Place] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether there is more to read or to shift."""
        is_moving = self._clock_jump is not None or self._to_shorten is not None
        return self._after is not None or is_moving or self._scheduler.rates.is_any_unfilled

    def invalidate(self) -> None:
        """Read everything again at the next step."""
        self._loaded -= RELOAD_EVERY

    def reload_if_changed(self, revision: int, now: datetime) -> None:
        """Read everything again if `revision`, the number of changes to webhooks, is a new one."""
        if revision != self._revision:
            self._revision = revision
            self.reload(now)

    def reload(self, now: datetime) -> None:
        """Read what is due at all webhooks from the first one on, after the reading that is under way."""
        self._loaded = now
        self._again = self._after is not None
        self._after = self._after or ""

    def check_times(self, waits: Sequence[timedelta]) -> None:
        """Let none of the next waits be longer than the schedule's, if what was taken from others has times that are to come."""
        self._to_shorten = (waits, BEGIN)

    def step(self, conn: Session, now: datetime) -> None:
        """Read one part, and fill the spans of some rate limits, or shift some due times after the clock was set back.

        Everything is read again every `RELOAD_EVERY`. Raises `StorageError`.
        """
        (before, read_at), moment = self._clock, time.monotonic()
        jump = before - now + timedelta(seconds=moment - read_at)
        if self._clock_jump is None and jump > LEAST_JUMP:
            self._clock_jump = ClockJump(jump, now, moment)
        if self._clock_jump is not None:
            self._shift_due(conn, self._clock_jump)
            return
        if self._to_shorten is not None:
            self._shorten(conn, now, *self._to_shorten)
        if now - self._loaded >= RELOAD_EVERY or now < self._loaded:
            self.reload(now)
        if self._after is not None:
            self._read_on(conn, self._after)
        if self._scheduler.rates.is_any_unfilled:
            self._fill_spans(conn, now, moment)
        self._clock = (now, moment)

    def _shift_due(self, conn: Session, jump: ClockJump) -> None:
        """Shift some due times in one transaction; if it fails, the next step repeats it."""
        if jump.place is not None:
            with self._store.transaction(conn):
                moved, jump.place = self._store.shift_due(conn, jump.by, jump.now, jump.place)
            jump.moved += moved
        if jump.place is None:
            self._clock, self._clock_jump = (jump.now, jump.moment), None
            log.warning("the clock was set back", seconds=round(jump.by.total_seconds(), 3), brought_forward=jump.moved)
            self.reload(jump.now)

    def _shorten(self, conn: Session, now: datetime, waits: Sequence[timedelta], place: Place) -> None:
        """Shorten some waits in one transaction; if it fails, the next step repeats it."""
        if place == BEGIN and not self._store.has_later_times(conn, now):
            self._to_shorten = None
            return
        with self._store.transaction(conn):
            moved, reached = self._store.shorten(conn, waits, now, place)
        self._to_shorten = None if reached is None else (waits, reached)
        if moved:
            log.warning("waits were longer than the schedule's", brought_forward=moved)
            self.reload(now)

    def _read_on(self, conn: Session, after: str) -> None:
        webhooks_read, due = self._store.first_due_after(conn, after, PART)
        self._scheduler.update_due(webhooks_read, due)
        self._after = webhooks_read[-1] if len(webhooks_read) == PART else None
        if self._after is None:
            self._scheduler.forget_idle()
            if self._again:
                self._after, self._again = "", False

    def _fill_spans(self, conn: Session, now: datetime, moment: float) -> None:
        """Fill the spans of some webhooks whose rate limits are new or have changed."""
        limits = self._scheduler.rates.unfilled(STARTS_PART)
        for webhook, starts in self._store.recent_starts(conn, limits, now).items():
            # A time that is still to come was written before the clock was set back: it counts as now.
            ages = ((max(0.0, -clock.seconds_until(start, now)), count) for start, count in starts)
            self._scheduler.fill_span(webhook, limits[webhook], [(moment - age, count) for age, count in ages])
