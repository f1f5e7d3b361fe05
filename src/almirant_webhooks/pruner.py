"""Removing what has had its time, in small steps that nobody notices."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from . import clock
from .db import deliveries, outbox, retention, rotation
from .db.connection import shorten_wal
from .db.worker import Worker
from .settings import Retention

RATE = 6000  # rows a second
STEP = (30, 200)  # rows, at least and at most: 1 and 7 ms of the writer's time with a log of 10,000,000
PAGES = 50  # given back in one step
REST = 0.005  # seconds between two steps
EVERY = 10.0
SWEEP_EVERY = timedelta(minutes=10)

log = structlog.get_logger("almirant_webhooks")


class Pruner:
    """Erases deleted webhooks, settles changes of secrets, cancels what was held too long, and removes what is old."""

    def __init__(
        self, database: Worker, outbox_worker: Worker, kept: Retention, *, failing: Callable[[], str | None]
    ) -> None:
        self._database = database
        self._outbox = outbox_worker
        self._kept = kept
        self._failing = failing
        self._sweep: retention.Sweep | None = None
        self._swept: datetime | None = None
        self._stepped = 0.0  # monotonic seconds

    async def run(self) -> None:
        """Take steps while there is something to do, then rest."""
        while True:
            try:
                busy = not self._failing() and await self.step(clock.now())
            except sqlite3.Error as error:
                log.warning("pruning failed", error=str(error))
                busy = False
            await asyncio.sleep(REST if busy else EVERY)

    async def step(self, now: datetime) -> bool:
        """Do one small step of each kind; tell whether there may be more to do."""
        limit = self._limit()
        erased = await self._database.write(deliveries.erase_deleted, limit)
        cancelled = await self._database.write(deliveries.cancel_held, now - self._kept.held, limit)
        await self._database.write(rotation.settle, now)
        pruned = await self._outbox.write(
            outbox.prune, clock.text(now - self._kept.outbox), clock.text(now - self._kept.failed), limit
        )
        await self._database.run(shorten_wal)
        if await self._outbox.run(outbox.is_alone):
            await self._outbox.run(shorten_wal)
        if cancelled:
            log.info("held deliveries cancelled", deliveries=cancelled)
        sweeping = await self._sweep_on(now, limit)
        given_back = await self._database.write(retention.give_back, PAGES)
        return bool(erased or cancelled or pruned or sweeping or given_back)

    def _limit(self) -> int:
        """Return how many rows a step may take: few while the database is free, so that nobody waits long for one."""
        before, self._stepped = self._stepped, time.monotonic()
        since = self._stepped - before
        return STEP[0] if since >= EVERY else max(STEP[0], min(STEP[1], round(RATE * since)))

    async def _sweep_on(self, now: datetime, limit: int) -> bool:
        """Take a step of the sweep, or begin one if the last was long ago or the clock was set."""
        if self._sweep is None:
            if self._swept is not None and timedelta(0) <= now - self._swept < SWEEP_EVERY:
                return False
            self._swept = now
            self._sweep = retention.Sweep(succeeded=self._kept.succeeded, failed=self._kept.failed, now=now)
        if await self._database.write(self._sweep.step, limit):
            return True
        removed = {what: count for what, count in self._sweep.removed.items() if count}
        self._sweep = None
        if removed:
            log.info("pruned", **removed)
        return False
