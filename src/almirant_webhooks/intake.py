"""From the outbox to the inbox: events are read ahead, and marked once they are in the database."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from . import clock
from .db import marking, outbox, unread
from .db.connection import data_version
from .db.fanout import FanOut
from .db.worker import Worker
from .inbox import PATIENCE, Inbox
from .metrics import Metrics
from .troubles import Troubles
from .unmarked import Unmarked

STEP = "fan out"
MARK_WITHIN = 0.75  # seconds that a stop waits for the last marks

log = structlog.get_logger("almirant_webhooks")


class Intake:
    """Reads the outbox whenever it has changed, and marks what was fanned out.

    A task of its own, so that a producer that holds the outbox's lock delays no delivery. The dispatcher fans out, with
    its next group.
    """

    def __init__(
        self,
        outbox_worker: Worker,
        inbox: Inbox,
        metrics: Metrics,
        troubles: Troubles,
        *,
        poll_interval: float,
        known_types: frozenset[str],
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._outbox = outbox_worker
        self._metrics = metrics
        self._troubles = troubles
        self._inbox = inbox
        self._unmarked = Unmarked()
        self._poll_interval = poll_interval
        self._known_types = known_types
        self._has_room = has_room
        self._stopping = False
        self._ended = asyncio.Event()
        self._version: int | None = None
        self._looked_at = 0.0  # monotonic seconds
        self._newest = 0  # row that there was then

    async def look(self) -> None:
        """Wake up if another connection has committed since the last look."""
        if self._inbox.news.is_set() or self._inbox.rows:  # it reads in any case
            self._inbox.news.set()
            return
        try:
            version = await self._outbox.run(data_version)
        except sqlite3.OperationalError:  # a file in rollback-journal mode while a producer commits
            self._inbox.news.set()
            return
        before, self._version = self._version, version
        if version != before:
            self._inbox.news.set()

    def stop(self) -> None:
        """Read nothing more; what is in hand stays unread."""
        self._stopping = True
        self._inbox.news.set()

    async def finish(self) -> None:
        """Mark what the last group copied. What is left unmarked after `MARK_WITHIN` is not taken twice."""
        with suppress(TimeoutError, sqlite3.Error):
            async with asyncio.timeout(MARK_WITHIN):
                await self._ended.wait()
                await self._mark()

    async def run(self) -> None:
        """Read and mark whenever the outbox has changed, and every poll interval as the backstop."""
        while not self._stopping:
            self._inbox.news.clear()
            if not self._has_room():
                await self._troubles.meet_full(STEP)
                continue
            try:
                await self._mark()
                more = await self._read()
            except sqlite3.Error as error:
                await self._troubles.meet(STEP, error)
                continue
            if not self._inbox.in_hand:
                self._troubles.over(STEP)
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_interval):
                        await self._inbox.news.wait()
        self._ended.set()

    async def _read(self) -> bool:
        """Read ahead of what is being fanned out, so that the next group need not wait for it; tell whether there was any."""
        most = self._inbox.to_read
        if not most:
            return await self._read_few()
        apart = self._inbox.in_hand | self._unmarked.rows()
        rows = await self._outbox.run(unread.read_unread, most, apart)
        self._inbox.add(rows)
        return bool(rows)

    async def _read_few(self) -> bool:
        """Where enough is in hand, read what may go in front of it, if there is anything new, and not each time."""
        if time.monotonic() < self._looked_at + PATIENCE or not self._inbox.has_room_for_few:
            return False
        before, self._newest = self._newest, await self._outbox.run(unread.newest)
        rows = []
        if self._newest != before:
            apart = self._inbox.in_hand | self._unmarked.rows()
            rows = await self._outbox.run(unread.read_unread, unread.FEW, apart, only_few=True)
        self._looked_at = time.monotonic()
        self._inbox.add(rows)
        return bool(rows)

    async def _mark(self) -> None:
        """Mark what was copied: a crash between the two does no harm, as what is there is not taken twice."""
        error, self._inbox.error = self._inbox.error, None
        if error is not None:
            raise error
        while self._inbox.done:
            done = self._inbox.done[0]
            marks: list[outbox.Mark] = done.marks
            batch: int | None = done.batch
            if self._inbox.one_file:  # the others were marked with the copy
                marks, batch = [answer for answer in marks if answer.is_slow], None
            if marks:
                await self._outbox.write(marking.mark, done, marks, batch, clock.text(clock.now()))
            self._inbox.done.popleft()
            self._count(done)
            self._unmarked.add(done)
            self._troubles.over(STEP)

    def _count(self, done: FanOut) -> None:
        self._metrics.fan_out.observe(done.seconds)
        self._metrics.events.inc(done.events)
        self._metrics.deliveries.inc(done.deliveries)
        self._metrics.duplicates.inc(done.duplicates)
        self._metrics.unmatched.inc(done.unmatched)
        self._metrics.rejected.inc(len(done.rejected))
        for answer in done.rejected:
            log.warning("event rejected", outbox_id=answer.row.id, reason=answer.rejected_reason)
        unknown = [kind for kind in done.types if kind not in self._known_types]
        self._metrics.unknown_types.inc(len(unknown))
        for kind in sorted(set(unknown)):
            log.warning("event type is not in the catalogue", event_type=kind, events=unknown.count(kind))
        log.debug("fanned out", events=done.events, deliveries=done.deliveries, batch=done.batch)
