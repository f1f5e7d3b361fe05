"""Removes rows whose retention is over, in steps small enough to delay no delivery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from .. import clock
from ..model import Misconfigured
from ..settings.schema import Retention
from ..storage.engine import KEYS_KEPT, PruningStore, Session, StorageError, Walk, Worker

RATE = 6000  # rows a second
STEP = (30, 200)  # rows in one step, at least and at most: 1 and 7 ms in a log of 10,000,000 deliveries
PAGES = 50  # pages to give back in one step
REST = 0.005  # seconds between two steps
EVERY = 10.0  # seconds between two steps while there is nothing to do
SWEEP_EVERY = timedelta(minutes=10)
SESSIONS_KEPT = timedelta(days=1)  # beyond their end: a form that comes too late says whose it was

log = structlog.get_logger("almirant_webhooks")


class Pruner:
    """Erases deleted webhooks, cancels discarded and too long held deliveries, ends rotations, removes old rows."""

    def __init__(
        self,
        database: Worker,
        outbox_worker: Worker,
        store: PruningStore,
        kept: Retention,
        *,
        rests: Callable[[], str | None],
    ) -> None:
        self._database = database
        self._outbox = outbox_worker
        self._store = store
        self._kept = kept
        self._rests = rests
        self.is_resting = False  # there was nothing to do, and no step is under way
        self._walks: list[tuple[Worker, Walk]] = []  # the rest of the current sweep
        self._swept: datetime | None = None
        self._stepped = 0.0  # monotonic seconds

    async def run(self) -> None:
        """Take steps until cancelled; an error is logged, and a later step tries again."""
        while True:
            try:
                busy = not self._rests() and await self.step(clock.now())
            except (StorageError, Misconfigured) as error:  # a key file that cannot be used at the moment, say
                log.warning("pruning failed", error=str(error))
                busy = False
            self.is_resting = not busy
            await asyncio.sleep(REST if busy else EVERY)
            self.is_resting = False

    async def step(self, now: datetime) -> bool:
        """Do one small step of each kind, each a transaction; return whether there may be more to do."""
        limit = self._limit()
        erased = await self._database.write(self._store.erase_deleted, limit)
        discarded = await self._database.write(self._store.discard, limit)
        settled = await self._database.write(self._store.settle_secrets, now, limit)
        before = now - self._kept.outbox
        pruned = await self._prune_outbox(
            lambda conn, max_rows: self._store.prune_outbox(conn, before, max_rows), limit
        )
        await self._database.run(self._store.tidy)
        if pruned is not None:  # its server may be away: the log is pruned all the same
            await self._outbox.run(self._store.tidy_outbox)
        sweeping = await self._sweep_on(now, limit)
        given_back = await self._database.write(self._store.release_pages, PAGES)
        return bool(erased or discarded or settled or pruned or sweeping or given_back)

    async def _prune_outbox(self, step: Callable[[Session, int], int], limit: int) -> int | None:
        """Remove old rows of the outbox; None if that failed, for an application's trigger maybe: the other steps go on."""
        try:
            return await self._outbox.write(step, limit)
        except StorageError as error:
            log.warning("pruning the outbox failed", error=str(error))
            return None

    def _limit(self) -> int:
        """Return how many rows a step may take: as many as `RATE` allows since the last one, within `STEP`."""
        before, self._stepped = self._stepped, time.monotonic()
        since = self._stepped - before
        return STEP[0] if since >= EVERY else max(STEP[0], min(STEP[1], round(RATE * since)))

    async def _sweep_on(self, now: datetime, limit: int) -> bool:
        """Take a step of the sweep; begin one if the last began `SWEEP_EVERY` ago, or the clock was set back."""
        if not self._walks:
            if self._swept is not None and timedelta(0) <= now - self._swept < SWEEP_EVERY:
                return False
            self._swept = now
            self._walks = self._new_walks(now)
        worker, walk = self._walks[0]
        overwritten = walk.removed["payloads"]
        goes_on = (
            await self._prune_outbox(walk.step, limit)
            if worker is self._outbox
            else await worker.write(walk.step, limit)
        )
        if walk.removed["payloads"] > overwritten:
            await self._database.write(self._store.note_erased, now)
        if not goes_on:
            del self._walks[0]
            removed = {name: count for name, count in walk.removed.items() if count}
            if removed:
                log.info("pruned", **removed)
        return bool(self._walks)

    def _new_walks(self, now: datetime) -> list[tuple[Worker, Walk]]:
        kept = self._kept
        old_content = []
        if kept.bodies is not None:
            before = now - kept.bodies
            old_content = [
                (self._outbox, self._store.old_payloads(before)),
                (self._database, self._store.old_bodies(before, now)),
            ]
        return [
            *old_content,
            (self._database, self._store.sessions(now - SESSIONS_KEPT)),
            (self._database, self._store.request_keys(now - KEYS_KEPT)),
            (self._database, self._store.held_too_long(now - kept.held)),
            (self._outbox, self._store.rejected_rows(now - kept.failed)),
            (self._database, self._store.log(succeeded=kept.succeeded, failed=kept.failed, now=now)),
        ]
