"""The loop: records what has ended, claims what is due and fans out what is new, a batch at a time.

It is a step that the thread of the database's connection takes again and again; between two steps the thread does what others
ask of the database. The event loop only makes the requests: claims go there with each batch, and results come back one by one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import structlog

from .. import clock
from ..model import Due
from ..ops.metrics import Metrics
from ..rules.retry import Schedule
from ..storage.engine import BEGIN, DeliveryStore, Session, StorageError, Worker, Written
from .attempts import Attempts, Sends
from .batch import FAN_OUT, Batch, Chooser
from .due_loader import DueLoader
from .ended import Ended
from .health import PAUSE, Troubles
from .network import Outage
from .outbox_reader import OutboxReader
from .pace import Pace
from .reports import report
from .scheduler import Scheduler

LOOK_AGAIN = 2.0  # seconds at most until the clock is read again, so that one that was set is noticed
WORTH = 32  # results for which a batch pays while more are to come
PATIENCE = 0.003  # seconds that they wait for so many
RECORD_WITHIN = 0.75  # seconds that a stop waits for the last records and marks
STEP = "claim and record"

log = structlog.get_logger("almirant_webhooks")


class DeliveryLoop:
    """The step and all that it knows, in the delivery thread; methods that say so are the event loop's.

    Durable is what a batch has committed: a start finds the rest by the database.
    """

    def __init__(
        self,
        worker: Worker,
        store: DeliveryStore,
        sender: Sends,
        reader: OutboxReader,
        metrics: Metrics,
        troubles: Troubles,
        schedule: Schedule,
        scheduler: Scheduler,
        *,
        poll_interval: float,
    ) -> None:
        self.worker = worker
        self._store = store
        self._network = Outage()
        self._ended = Ended(scheduler, self._network, worker.wake)
        self.attempts = Attempts(sender, self._ended.hand_over)
        self.scheduler = scheduler
        self.is_writing = False  # a batch, from the wait for the file's lock to its commit
        self.reader = reader
        self._metrics = metrics
        self._troubles = troubles
        self._schedule = schedule
        self._poll_interval = poll_interval
        self._has_room = store.has_room
        self._due = DueLoader(scheduler, store)
        self._pace = Pace()
        self._chooser = Chooser(scheduler, reader, self._network, self._pace, troubles, schedule)
        self._version: int | None = None
        self._polled_at = 0.0
        self._paused_until = 0.0
        self._stopping = False

    # On the event loop

    async def recover(self, now: datetime) -> int:
        """Record what a crash left open as interrupted and look up what is due, before `begin`; return how many were open."""
        count = await self.worker.write(self._store.interrupt_open, self._schedule, now)
        shortened, place = 0, BEGIN if await self.worker.run(self._store.knows_later, now) else None
        while place is not None:
            moved, place = await self.worker.write(self._store.shorten, self._schedule.waits, now, place)
            shortened += moved
        if shortened:
            log.warning("the clock was set back while no daemon ran", brought_forward=shortened)
        for end in await self.worker.run(self._store.last_ends):
            self.scheduler.remember(end.webhook_id, timed_out=end.timed_out, duration_ms=end.duration_ms)
        await self.reload()
        return count

    def begin(self, died: Callable[[Exception], None]) -> None:
        """Begin to deliver; `died` is told, on the event loop, of what no later try can mend."""
        self._event_loop = asyncio.get_running_loop()
        self.worker.take_steps(self.step, died)

    async def reload(self) -> None:
        """Have it read what is due at all webhooks: somebody in this process has changed some."""
        await self.worker.run(lambda conn: self._due.reload(clock.now()))

    async def look(self) -> None:
        """Have it look whether another process has committed."""
        await self.worker.run(self._look)

    def tell(self, asked: set[str], due: dict[str, Due]) -> None:
        """Take over when each of the webhooks that were asked for has its next attempt."""
        self.worker.call(lambda _: self.scheduler.update_due(asked, due))

    def keep_bodies(self, keep: bool) -> None:
        """Store answers' bodies, or leave them out while there is little room on the disk."""
        self.worker.call(lambda _: self._ended.store_bodies(keep))

    def failing(self) -> str | None:
        """Return the trouble while the database cannot be written: nothing is claimed then, as it could not be recorded."""
        return self._troubles.why(STEP)

    @property
    def outage(self) -> str | None:
        """The words for an outage of our own network while there is one: a single claim at a time probes it then."""
        return self._network.why

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""
        return self.attempts.in_flight

    def stop(self) -> None:
        """Claim nothing more, and read nothing more."""
        self.worker.call(self._stop)

    async def finish(self, limit: float) -> int:
        """Wait for what is in flight, `limit` seconds at most, and `RECORD_WITHIN` for records and marks; return what is left."""
        deadline = time.monotonic() + limit
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self.worker.run(lambda _: None)  # a batch that is being written may begin more
        left = await self.attempts.finish(max(0.0, deadline - time.monotonic()))
        with suppress(TimeoutError):
            async with asyncio.timeout(RECORD_WITHIN):
                await self.worker.run(self._record_rest)
        return left

    # In the delivery thread

    def step(self, conn: Session) -> float:
        """Write the next batch, if there is one; return for how many seconds nothing else is to be done, unless it is woken.

        Raises `Misconfigured` for what no later try can mend.
        """
        at = time.monotonic()
        if (wait := self._wait(at)) > 0:
            return wait
        now = clock.now()
        full = not self._has_room()
        try:
            self._due.step(conn, now)
            worked = self._take_turn(conn, now, at, full=full)
            self._mark(conn)
        except StorageError as error:
            self._troubles.fail(STEP, error)
            self._due.invalidate()  # what it said to be due may not be
            self.reader.look_anew()
            return self._pause()
        if full:
            self._troubles.fail_full(STEP)
            return self._pause()
        return 0.0 if worked else self._rest(now)

    def _wait(self, at: float) -> float:
        """Return for how many seconds it is better to wait: for producers, for more results, or because something failed."""
        self._ended.are(0)
        if at < self._paused_until:
            return self._paused_until - at
        ended = self._ended.count
        others = self.scheduler.in_flight.total() - ended
        reader_waits = self.reader.next_look(at) != 0.0 or self._stopping
        enough = min(WORTH, (ended + others + 1) // 2)
        wait = self._pace.ended_at + PATIENCE - at
        if 0 < ended < enough and reader_waits and wait > 0:
            return 0.0 if self._ended.are(enough) else wait
        return self._pace.gap(at) if self.reader.is_in_database else 0.0

    def _pause(self) -> float:
        self._paused_until = time.monotonic() + PAUSE
        return PAUSE

    def _take_turn(self, conn: Session, now: datetime, at: float, *, full: bool) -> bool:
        """Choose a batch and write it; tell whether there was anything to do."""
        self._ended.take(now, at)
        failing = full or bool(self.failing())
        batch = self._chooser.choose(self._ended.waiting, now, at, may_begin=not (failing or self._stopping))
        work = batch.work
        if work.asked is not None and not (work.results or work.wanted) and self.reader.is_empty(conn, work.asked):
            self._troubles.clear(FAN_OUT)
            return False
        # While failing a write that changes nothing tells whether that is over.
        if not (work.results or work.wanted or work.rows or work.asked is not None or failing):
            if batch.asked is not None:
                self.reader.took(None, at)
            return False
        self._write(conn, batch, full=full)
        return True

    def _mark(self, conn: Session) -> None:
        try:
            self.reader.mark(conn)
        except StorageError as error:
            if self.reader.is_in_database:
                raise
            self._troubles.fail(FAN_OUT, error)
            self.reader.pause(PAUSE)

    def _write(self, conn: Session, batch: Batch, *, full: bool) -> None:
        """Write and commit a batch; its requests are prepared meanwhile, and made once it is committed."""
        call, number = self._event_loop.call_soon_threadsafe, batch.number
        prepared, self.is_writing = False, True
        try:
            with self._store.transaction(conn):
                written = self._store.write(conn, batch.work, self._schedule, clock.now())
                if written.begun:
                    call(self.attempts.prepare, number, written.begun)
                    prepared = True
        except BaseException:
            if prepared:
                call(self.attempts.drop, number)
            raise
        finally:
            self.is_writing = False
        if prepared:
            call(self.attempts.go, number)
        self._confirm(conn, batch, written, full=full)

    def _confirm(self, conn: Session, batch: Batch, written: Written, *, full: bool) -> None:
        """Take over what a batch that is committed has changed."""
        ended_at = time.monotonic()
        self._ended.recorded(len(batch.work.results))
        if not full:
            self._troubles.clear(STEP)
        for claim in written.begun:
            self.scheduler.begin(claim.webhook_id)
        self.scheduler.update_due(written.touched, written.due)
        if written.fan_out:
            self.scheduler.of_projects.learn(written.fan_out.enabled)
        if written.begun:
            self._network.probing(ended_at)
        if batch.asked is not None:
            self.reader.took(written.fan_out, ended_at)
            if self.reader.is_in_database:
                self._troubles.clear(FAN_OUT)
        begun = len(written.begun) + (written.fan_out.deliveries if written.fan_out else 0)
        self._pace.took(batch.begun_at, ended_at, len(batch.work.results) + begun)
        self._due.reload_if_changed(written.revision, clock.now())
        self._metrics.dropped.inc(written.dropped)
        self._metrics.in_flight.set(self.scheduler.in_flight.total())
        report(batch.work.results, self._metrics, gone=written.gone)

    def _look(self, conn: Session) -> None:
        before, self._version = self._version, self._store.changes(conn)
        changed = before != self._version
        self.reader.look(changed=changed)
        if changed:
            if before is not None:
                self._pace.others_commit(time.monotonic())
            self._due.look(conn, clock.now())

    def _rest(self, now: datetime) -> float:
        """Return the seconds until the first of: the next due time, rows that are worth another read, a look at clock or outbox."""
        at = time.monotonic()
        if at >= self._polled_at + self._poll_interval:
            self._polled_at = at
            self.reader.look_anew()
        seconds = [LOOK_AGAIN, self._polled_at + self._poll_interval - at, self._network.next_look(at)]
        next_due = None if self._stopping else self.scheduler.next_due()
        if next_due is not None:
            is_due = next_due <= clock.text(now)  # its half of the slots is full: a freed one wakes us
            seconds.append(PAUSE if is_due else clock.seconds_until(next_due, now) + 0.001)
        seconds.append(self.reader.next_mark(at) if self._stopping else self.reader.next_look(at))
        return 0.0 if self._ended.are(1) or self._due.is_busy else min(one for one in seconds if one is not None)

    def _stop(self, _: Session) -> None:
        self._stopping = True

    def _record_rest(self, conn: Session) -> None:
        """Record and mark what is left, for as long as a stop may take."""
        until = time.monotonic() + RECORD_WITHIN
        self._ended.give_up()
        while (self._ended.count or self._ended.waiting or self.reader.has_marks) and time.monotonic() < until:
            time.sleep(min(self.step(conn), max(0.0, until - time.monotonic())))
