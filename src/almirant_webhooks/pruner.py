"""Removing what has had its time, in small steps that nobody notices."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from . import clock
from .db import deliveries, outbox, rotation
from .db.worker import Worker

STEP = 200
REST = 0.02  # seconds between two steps
EVERY = 10.0

log = structlog.get_logger("almirant_webhooks")


class Pruner:
    """Erases deleted webhooks, settles changes of secrets, cancels what was held too long, and prunes outbox rows that were taken long ago."""

    def __init__(
        self,
        database: Worker,
        outbox_worker: Worker,
        *,
        held: timedelta,
        taken: timedelta,
        failing: Callable[[], str | None],
    ) -> None:
        self._database = database
        self._outbox = outbox_worker
        self._held = held
        self._taken = taken
        self._failing = failing

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
        erased = await self._database.write(deliveries.erase_deleted, STEP)
        cancelled = await self._database.write(deliveries.cancel_held, now - self._held, STEP)
        await self._database.write(rotation.settle, now)
        pruned = await self._outbox.write(outbox.prune, clock.text(now - self._taken), STEP)
        if cancelled:
            log.info("held deliveries cancelled", deliveries=cancelled)
        return bool(erased or cancelled or pruned)
