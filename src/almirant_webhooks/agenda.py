"""The agenda: what is due at which webhook, read again when others changed it, the clock was set back, or time has passed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from . import clock
from .db import deliveries, results, webhooks
from .db.connection import data_version
from .db.worker import Worker
from .fairness import Shares
from .model import Due
from .retry import Schedule

RELOAD_EVERY = timedelta(seconds=30)
SET_BACK = timedelta(seconds=2)  # less than that is how clocks are kept right

log = structlog.get_logger("almirant_webhooks")


class Agenda:
    """Keeps what the shares know to be due in step with the database; `changed` is called when it was not."""

    def __init__(self, database: Worker, shares: Shares, schedule: Schedule, changed: Callable[[], None]) -> None:
        self._database = database
        self._shares = shares
        self._schedule = schedule
        self._changed = changed
        self._loaded = clock.now()
        self._clock = (self._loaded, time.monotonic())
        self._version: int | None = None
        self._revision = -1

    async def recover(self, now: datetime) -> int:
        """Record what a crash left open as interrupted, and look up what is due; before the loop starts."""

        def work(conn: sqlite3.Connection) -> tuple[int, int]:
            interrupted = results.interrupt_open(conn, self._schedule, now)
            return interrupted, deliveries.catch_up(conn, self._schedule.waits, now)

        count, shortened = await self._database.write(work)
        if shortened:
            log.warning("the clock was set back while no daemon ran", brought_forward=shortened)
        await self.reload(now)
        return count

    async def look(self) -> None:
        """Read it again if an admin or operator has changed something since the last look."""
        before, self._version = self._version, await self._database.run(data_version)
        if self._version != before:
            await self.keep_up(await self._database.run(webhooks.revision), clock.now())

    async def keep_up(self, revision: int, now: datetime) -> None:
        """Read it again if webhooks have changed, as the number of their changes tells."""
        if revision != self._revision:
            await self.reload(now)

    def update(self, asked: set[str], due: dict[str, Due]) -> None:
        """Take over when each of the webhooks that were asked for has its next attempt."""
        self._shares.update_due(asked, due)
        self._changed()

    def doubt(self) -> None:
        """Have it read again at the next opportunity."""
        self._loaded -= RELOAD_EVERY

    async def mind_the_clock(self, now: datetime) -> None:
        """Look everything up from time to time, and have nothing wait longer because the clock was set back."""
        (before, read_at), moment = self._clock, time.monotonic()
        set_back = before - now + timedelta(seconds=moment - read_at)
        if set_back > SET_BACK:  # a write that fails is tried again in the next round
            moved = await self._database.write(deliveries.bring_forward, set_back, now)
            self._clock = (now, moment)
            log.warning("the clock was set back", seconds=round(set_back.total_seconds(), 3), brought_forward=moved)
            await self.reload(now)
        elif now - self._loaded >= RELOAD_EVERY or now < self._loaded:
            await self.reload(now)
        self._clock = (now, moment)

    async def reload(self, now: datetime) -> None:
        """Read what is due at all webhooks."""

        def read(conn: sqlite3.Connection) -> tuple[int, dict[str, Due]]:
            return webhooks.revision(conn), deliveries.first_due(conn)

        self._revision, due = await self._database.run(read)
        self._loaded = now
        self._shares.replace_due(due)
        self._changed()
