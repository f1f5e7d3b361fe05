"""From the outbox into the database: events are read, fanned out and marked, batch by batch."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from . import clock
from .db import deliveries, fanout, outbox, unread
from .db.connection import data_version
from .db.worker import Worker
from .metrics import Metrics
from .model import Due
from .troubles import Troubles

ROWS = 128  # a batch keeps the claims waiting while it is written
STEP = "fan out"

log = structlog.get_logger("almirant_webhooks")


class Intake:
    """Fans out whenever the outbox has changed.

    A task of its own, so that a producer that holds the outbox's lock delays no delivery. `due` is told which webhooks
    got deliveries and when each has its next attempt.
    """

    def __init__(
        self,
        database: Worker,
        outbox_worker: Worker,
        metrics: Metrics,
        troubles: Troubles,
        *,
        first_wait: timedelta,
        poll_interval: float,
        known_types: frozenset[str],
        due: Callable[[set[str], dict[str, Due]], None],
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._outbox = outbox_worker
        self._metrics = metrics
        self._troubles = troubles
        self._first_wait = first_wait
        self._poll_interval = poll_interval
        self._known_types = known_types
        self._due = due
        self._has_room = has_room
        self._wake = asyncio.Event()
        self._stopping = False
        self._version: int | None = None

    async def look(self) -> None:
        """Wake up if another connection has committed since the last look."""
        if self._wake.is_set():
            return
        try:
            version = await self._outbox.run(data_version)
        except sqlite3.OperationalError:  # a file in rollback-journal mode while a producer commits
            self._wake.set()
            return
        before, self._version = self._version, version
        if version != before:
            self._wake.set()

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Fan out whenever the outbox changed, and every poll interval as the backstop."""
        while not self._stopping:
            self._wake.clear()
            if not self._has_room():
                await self._troubles.meet_full(STEP)
                continue
            try:
                more = await self._step(clock.now())
            except sqlite3.Error as error:
                await self._troubles.meet(STEP, error)
                continue
            self._troubles.over(STEP)
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_interval):
                        await self._wake.wait()

    async def _step(self, now: datetime) -> bool:
        """Copy a batch, then mark it: a crash between the two does no harm, as what is there is not taken twice."""
        begun = time.monotonic()
        rows = await self._outbox.run(unread.read_unread, ROWS)
        if not rows:
            return False

        def copy(conn: sqlite3.Connection) -> tuple[fanout.FanOut, dict[str, Due]]:
            # The time inside the transaction: a webhook that it sees was made before, and `event show` goes by that.
            done = fanout.fan_out(conn, rows, self._first_wait, clock.now())
            return done, deliveries.first_due(conn, done.due)

        done, due = await self._database.write(copy)
        self._due(done.due, due)
        await asyncio.sleep(0)  # the claim of what is due goes before the mark
        await self._outbox.write(outbox.mark, done.marks, done.batch, clock.text(now))
        self._metrics.fan_out.observe(time.monotonic() - begun)
        self._count(done)
        return True

    def _count(self, done: fanout.FanOut) -> None:
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
