"""What a daemon does before its first batch: attempts that a crash left open, waits by a clock that was set back, slow webhooks."""

from __future__ import annotations

from datetime import datetime

import structlog

from ..rules.retry import Schedule
from ..storage.engine import BEGIN, DeliveryStore, DeliveryWorker
from .scheduler import Scheduler

log = structlog.get_logger("almirant_webhooks")


async def recover(
    worker: DeliveryWorker, store: DeliveryStore, scheduler: Scheduler, schedule: Schedule, now: datetime
) -> int:
    """Record attempts that a crash left open as interrupted; return how many. Each part is a transaction of its own.

    A daemon that shares with others owns nothing yet, and does so for what it takes. Raises `StorageError`.
    """
    count = 0
    if store.owns is None:
        count = await worker.write(store.interrupt_open, schedule, now)
        await _shorten(worker, store, schedule, now)
    for end in await worker.run(store.last_ends):
        scheduler.remember(end.webhook_id, timed_out=end.timed_out, duration_ms=end.duration_ms)
    return count


async def _shorten(worker: DeliveryWorker, store: DeliveryStore, schedule: Schedule, now: datetime) -> None:
    """Shorten waits that were written by a clock that was set back since."""
    shortened, place = 0, BEGIN if await worker.run(store.has_later_times, now) else None
    while place is not None:
        moved, place = await worker.write(store.shorten, schedule.waits, now, place)
        shortened += moved
    if shortened:
        log.warning("the clock was set back while no daemon ran", brought_forward=shortened)
