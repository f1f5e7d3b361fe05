"""Advances bulk resends and replays in small steps, so that new events never wait behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from .. import clock
from ..model import Due
from ..storage.engine import FIRST_RESEND, ResendingStore, StorageError, Worker

REST = 0.1  # seconds between two steps while a resend is under way
EVERY = 1.0  # seconds between two checks for new resends

log = structlog.get_logger("almirant_webhooks")


class Resender:
    """Advances bulk resends and replays; `due` is called with the webhooks that have something to send.

    `kept` is how long deliveries are kept at least.
    """

    def __init__(
        self,
        database: Worker,
        store: ResendingStore,
        *,
        kept: timedelta,
        due: Callable[[set[str], dict[str, Due]], None],
        rests: Callable[[], str | None],
    ) -> None:
        self._database = database
        self._store = store
        self._kept = kept
        self._due = due
        self._rests = rests

    async def run(self) -> None:
        """Take steps until cancelled; an error is logged, and a later step tries again."""
        reached = FIRST_RESEND
        while True:
            busy = False
            try:
                if not self._rests() and await self._database.run(self._store.under_way):
                    busy = True
                    step = await self._database.write(self._store.step, clock.now(), reached, kept=self._kept)
                    reached = step.reached
                    if step.touched:
                        self._due(step.touched, step.due)
                    for resend_id in step.finished:
                        log.info("resend finished", resend_id=resend_id)
            except StorageError as error:
                log.warning("resending failed", error=str(error))
            await asyncio.sleep(REST if busy else EVERY)
