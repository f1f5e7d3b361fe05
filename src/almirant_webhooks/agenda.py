"""The agenda: what is due at which webhook, read again when others changed it, the clock was set back, or time has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from . import clock
from .db import deliveries, results, waits, webhooks
from .db.connection import data_version
from .db.worker import Worker
from .fairness import Shares
from .model import Due
from .retry import Schedule

RELOAD_EVERY = timedelta(seconds=30)
PART = 500  # webhooks that are read at once, 1 to 2 ms of the database's thread
SET_BACK = timedelta(seconds=2)  # less than that is how clocks are kept right

log = structlog.get_logger("almirant_webhooks")


@dataclass
class SetBack:
    """A clock that was set back: by how much, when that was noticed, and how far waits were made right."""

    by: timedelta
    now: datetime
    moment: float
    place: waits.Place | None = waits.BEGIN
    moved: int = 0


class Agenda:
    """Keeps what the shares know to be due in step with the database; `changed` is called when it was not."""

    def __init__(self, database: Worker, shares: Shares, schedule: Schedule, changed: Callable[[], None]) -> None:
        self._database = database
        self._shares = shares
        self._schedule = schedule
        self._changed = changed
        self._loaded = clock.now()
        self._clock = (self._loaded, time.monotonic())
        self._set_back: SetBack | None = None
        self._version: int | None = None
        self._revision = -1
        self._after: str | None = None  # the webhook behind which the reading goes on, while it does
        self._again = False

    async def recover(self, now: datetime) -> int:
        """Record what a crash left open as interrupted, and look up what is due; before the loop starts."""
        count = await self._database.write(results.interrupt_open, self._schedule, now)
        shortened, place = 0, waits.BEGIN if await self._database.run(waits.knows_later, now) else None
        while place is not None:
            moved, place = await self._database.write(waits.shorten, self._schedule.waits, now, place)
            shortened += moved
        if shortened:
            log.warning("the clock was set back while no daemon ran", brought_forward=shortened)
        last_ends = await self._database.run(results.last_ends)
        for end in last_ends:
            self._shares.remember(end.webhook_id, timed_out=end.timed_out, duration_ms=end.duration_ms)
        self._revision = await self._database.run(webhooks.revision)
        await self._read_all(now)
        return count

    async def look(self) -> None:
        """Have it read again if an admin or operator has changed something since the last look."""
        before, self._version = self._version, await self._database.run(data_version)
        if self._version != before:
            self.keep_up(await self._database.run(webhooks.revision), clock.now())

    def keep_up(self, revision: int, now: datetime) -> None:
        """Have it read again if webhooks have changed, as the number of their changes tells."""
        if revision != self._revision:
            self._revision = revision
            self.reload(now)

    def update(self, asked: set[str], due: dict[str, Due]) -> None:
        """Take over when each of the webhooks that were asked for has its next attempt."""
        self._shares.update_due(asked, due)
        self._changed()

    def doubt(self) -> None:
        """Have it read again at the next opportunity."""
        self._loaded -= RELOAD_EVERY

    async def mind_the_clock(self, now: datetime) -> None:
        """Look everything up from time to time, a part in each round, and have nothing wait longer as the clock was set back."""
        (before, read_at), moment = self._clock, time.monotonic()
        set_back = before - now + timedelta(seconds=moment - read_at)
        if self._set_back is None and set_back > SET_BACK:
            self._set_back = SetBack(set_back, now, moment)
        if self._set_back is not None:
            await self._bring_forward(self._set_back)
            await self._read_all(now)
            return
        if now - self._loaded >= RELOAD_EVERY or now < self._loaded:
            self.reload(now)
        if self._after is not None:
            await self._read_on(self._after)
        self._clock = (now, moment)

    async def _bring_forward(self, one: SetBack) -> None:
        """Take the time off every wait; what fails goes on where it was in the next round."""
        while one.place is not None:
            moved, one.place = await self._database.write(waits.bring_forward, one.by, one.now, one.place)
            one.moved += moved
        self._clock, self._set_back = (one.now, one.moment), None
        log.warning("the clock was set back", seconds=round(one.by.total_seconds(), 3), brought_forward=one.moved)

    def reload(self, now: datetime) -> None:
        """Have what is due at all webhooks read from the first one on, after the reading that is under way."""
        self._loaded = now
        self._again = self._after is not None
        self._after = self._after or ""
        self._changed()

    async def _read_all(self, now: datetime) -> None:
        self._loaded, self._after, self._again = now, "", False
        while self._after is not None:
            await self._read_on(self._after)

    async def _read_on(self, after: str) -> None:
        """Read a part: groups are written between the parts, however many webhooks there are."""
        asked, due = await self._database.run(deliveries.first_due_after, after, PART)
        self._shares.update_due(asked, due)
        self._after = asked[-1] if len(asked) == PART else None
        if self._after is None:
            self._shares.forget_idle()
            if self._again:
                self._after, self._again = "", False
        self._changed()
