"""What is due at which webhook, read anew when others have changed it, the clock was set back, or time has passed.

In the delivery thread alone. The scheduler keeps what is read here; the database has it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from .. import clock
from ..storage.engine import BEGIN, DeliveryStore, Place, Session
from .scheduler import Scheduler

RELOAD_EVERY = timedelta(seconds=30)
PART = 500  # webhooks that are read at once, 1 to 2 ms of the thread
LEAST_JUMP = timedelta(seconds=2)  # less than that is how clocks are kept right

log = structlog.get_logger("almirant_webhooks")


@dataclass
class ClockJump:
    """A clock that was set back: by how much, when that was noticed, and how far waits were made right."""

    by: timedelta
    now: datetime
    moment: float
    place: Place | None = BEGIN
    moved: int = 0


class DueLoader:
    """Keeps what the scheduler knows to be due in step with the database, in parts: batches are written between them."""

    def __init__(self, scheduler: Scheduler, store: DeliveryStore) -> None:
        self._scheduler = scheduler
        self._store = store
        self._loaded = clock.now()
        self._clock = (self._loaded, time.monotonic())
        self._clock_jump: ClockJump | None = None
        self._revision = -1
        self._after: str | None = None  # the webhook behind which the reading goes on, while it does
        self._again = False

    @property
    def is_busy(self) -> bool:
        """Tell whether there is more to read, or there are more waits to make right."""
        return self._after is not None or self._clock_jump is not None

    def invalidate(self) -> None:
        """Have it read anew at the next opportunity."""
        self._loaded -= RELOAD_EVERY

    def check(self, conn: Session, now: datetime) -> None:
        """Look whether webhooks have changed."""
        self.reload_if_changed(self._store.revision(conn), now)

    def reload_if_changed(self, revision: int, now: datetime) -> None:
        """Have it read anew if webhooks have changed, as the number of their changes tells."""
        if revision != self._revision:
            self._revision = revision
            self.reload(now)

    def reload(self, now: datetime) -> None:
        """Have what is due at all webhooks read from the first one on, after the reading that is under way."""
        self._loaded = now
        self._again = self._after is not None
        self._after = self._after or ""

    def step(self, conn: Session, now: datetime) -> None:
        """Read a part, look everything up from time to time, and have nothing wait longer because the clock was set back."""
        (before, read_at), moment = self._clock, time.monotonic()
        jump = before - now + timedelta(seconds=moment - read_at)
        if self._clock_jump is None and jump > LEAST_JUMP:
            self._clock_jump = ClockJump(jump, now, moment)
        if self._clock_jump is not None:
            self._shift_due(conn, self._clock_jump)
            return
        if now - self._loaded >= RELOAD_EVERY or now < self._loaded:
            self.reload(now)
        if self._after is not None:
            self._read_on(conn, self._after)
        self._clock = (now, moment)

    def _shift_due(self, conn: Session, jump: ClockJump) -> None:
        """Take the time off a few waits; what fails is done with the next step."""
        if jump.place is not None:
            with self._store.transaction(conn):
                moved, jump.place = self._store.shift_due(conn, jump.by, jump.now, jump.place)
            jump.moved += moved
        if jump.place is None:
            self._clock, self._clock_jump = (jump.now, jump.moment), None
            log.warning("the clock was set back", seconds=round(jump.by.total_seconds(), 3), brought_forward=jump.moved)
            self.reload(jump.now)

    def _read_on(self, conn: Session, after: str) -> None:
        webhooks_read, due = self._store.first_due_after(conn, after, PART)
        self._scheduler.update_due(webhooks_read, due)
        self._after = webhooks_read[-1] if len(webhooks_read) == PART else None
        if self._after is None:
            self._scheduler.forget_idle()
            if self._again:
                self._after, self._again = "", False
