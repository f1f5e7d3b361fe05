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
from ..storage.engine import BEGIN, DeliveryStore, Session, StorageError, Worker, WrittenBatch
from .attempts import Attempts, Sends
from .batch import FAN_OUT, Batch, Chooser
from .due_loader import DueLoader
from .health import PAUSE, Health
from .network import Outage
from .outbox_reader import OutboxReader
from .pace import Pace
from .reports import report
from .result_queue import ResultQueue
from .scheduler import Scheduler

MAX_IDLE = 2.0  # seconds at most until the clock is read again, so that one that was set is noticed
ENOUGH_RESULTS = 32  # results for which a batch pays while more are to come
RESULTS_WAIT = 0.003  # seconds that fewer results wait for more
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
        health: Health,
        schedule: Schedule,
        scheduler: Scheduler,
        *,
        poll_interval: float,
    ) -> None:
        self.worker = worker
        self._store = store
        self._network = Outage()
        self._results = ResultQueue(scheduler, self._network, worker.wake)
        self.attempts = Attempts(sender, self._results.hand_over)
        self.scheduler = scheduler
        self.is_writing = False  # a batch, from the wait for the file's lock to its commit
        self.reader = reader
        self._metrics = metrics
        self._health = health
        self._schedule = schedule
        self._poll_interval = poll_interval
        self._has_free_space = store.has_free_space
        self._due = DueLoader(scheduler, store)
        self._pace = Pace()
        self._chooser = Chooser(scheduler, reader, self._network, self._pace, health, schedule)
        self._version: int | None = None
        self._polled_at = 0.0
        self._paused_until = 0.0
        self._stopping = False

    # On the event loop

    async def recover(self, now: datetime) -> int:
        """Record what a crash left open as interrupted and look up what is due, before `begin`; return how many were open."""
        count = await self.worker.write(self._store.interrupt_open, self._schedule, now)
        shortened, place = 0, BEGIN if await self.worker.run(self._store.has_later_times, now) else None
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

    async def check_for_commits(self) -> None:
        """Have it look whether another process has committed."""
        await self.worker.run(self._check_for_commits)

    def update_due(self, webhooks: set[str], due: dict[str, Due]) -> None:
        """Take over when each of the webhooks that were asked for has its next attempt."""
        self.worker.call(lambda _: self.scheduler.update_due(webhooks, due))

    def store_bodies(self, keep: bool) -> None:
        """Store answers' bodies, or leave them out while there is little room on the disk."""
        self.worker.call(lambda _: self._results.store_bodies(keep))

    def failing(self) -> str | None:
        """Return the trouble while the database cannot be written: nothing is claimed then, as it could not be recorded."""
        return self._health.reason(STEP)

    @property
    def outage(self) -> str | None:
        """The words for an outage of our own network while there is one: a single claim at a time probes it then."""
        return self._network.reason

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
        if (wait := self._wait_before_batch(at)) > 0:
            return wait
        now = clock.now()
        full = not self._has_free_space()
        try:
            self._due.step(conn, now)
            worked = self._run_batch(conn, now, at, full=full)
            self._mark(conn)
        except StorageError as error:
            self._health.fail(STEP, error)
            self._due.invalidate()  # what it said to be due may not be
            self.reader.force_read()
            return self._pause()
        if full:
            self._health.fail_disk_full(STEP)
            return self._pause()
        return 0.0 if worked else self._idle_seconds(now)

    def _wait_before_batch(self, at: float) -> float:
        """Return for how many seconds it is better to wait: for producers, for more results, or because something failed."""
        self._results.wake_at(0)
        if at < self._paused_until:
            return self._paused_until - at
        ended = self._results.count
        others = self.scheduler.in_flight.total() - ended
        reader_waits = self.reader.next_read(at) != 0.0 or self._stopping
        enough = min(ENOUGH_RESULTS, (ended + others + 1) // 2)
        wait = self._pace.ended_at + RESULTS_WAIT - at
        if 0 < ended < enough and reader_waits and wait > 0:
            return 0.0 if self._results.wake_at(enough) else wait
        return self._pace.gap(at) if self.reader.is_in_database else 0.0

    def _pause(self) -> float:
        self._paused_until = time.monotonic() + PAUSE
        return PAUSE

    def _run_batch(self, conn: Session, now: datetime, at: float, *, full: bool) -> bool:
        """Choose a batch and write it; tell whether there was anything to do."""
        self._results.take(now, at)
        failing = full or bool(self.failing())
        batch = self._chooser.choose(self._results.waiting, now, at, may_begin=not (failing or self._stopping))
        work = batch.work
        if work.to_read is not None and not (work.results or work.starts) and self.reader.is_empty(conn, work.to_read):
            self._health.clear(FAN_OUT)
            return False
        # While failing a write that changes nothing tells whether that is over.
        if not (work.results or work.starts or work.rows or work.to_read is not None or failing):
            if batch.to_read is not None:
                self.reader.confirm_read(None, at)
            return False
        self._write(conn, batch, full=full)
        return True

    def _mark(self, conn: Session) -> None:
        try:
            self.reader.mark(conn)
        except StorageError as error:
            if self.reader.is_in_database:
                raise
            self._health.fail(FAN_OUT, error)
            self.reader.pause(PAUSE)

    def _write(self, conn: Session, batch: Batch, *, full: bool) -> None:
        """Write and commit a batch; its requests are prepared meanwhile, and made once it is committed."""
        call, number = self._event_loop.call_soon_threadsafe, batch.number
        prepared, self.is_writing = False, True
        try:
            with self._store.transaction(conn):
                locked_at = time.monotonic()
                changes = self._store.write(conn, batch.work, self._schedule, clock.now())
                written_at = time.monotonic()
                if changes.begun:
                    call(self.attempts.prepare, number, changes.begun)
                    prepared = True
        except BaseException:
            if prepared:
                call(self.attempts.drop, number)
            raise
        finally:
            self.is_writing = False
        if prepared:
            call(self.attempts.send, number)
        begun = len(changes.begun) + (changes.fan_out.deliveries if changes.fan_out else 0)
        self._pace.observe_batch(locked_at, written_at, time.monotonic(), len(batch.work.results) + begun)
        self._confirm(conn, batch, changes, full=full)

    def _confirm(self, conn: Session, batch: Batch, changes: WrittenBatch, *, full: bool) -> None:
        """Take over what a batch that is committed has changed."""
        ended_at = self._pace.ended_at
        self._results.drop_recorded(len(batch.work.results))
        if not full:
            self._health.clear(STEP)
        for claim in changes.begun:
            self.scheduler.begin(claim.webhook_id)
        self.scheduler.update_due(changes.touched, changes.due)
        if changes.fan_out:
            self.scheduler.learn(changes.fan_out)
        if changes.begun:
            self._network.note_start(ended_at)
        if batch.to_read is not None:
            self.reader.confirm_read(changes.fan_out, ended_at)
            if self.reader.is_in_database:
                self._health.clear(FAN_OUT)
        self._due.reload_if_changed(changes.revision, clock.now())
        self._metrics.dropped.inc(changes.dropped)
        self._metrics.in_flight.set(self.scheduler.in_flight.total())
        report(batch.work.results, self._metrics, gone=changes.gone)

    def _check_for_commits(self, conn: Session) -> None:
        before, self._version = self._version, self._store.changes(conn)
        changed = before != self._version
        self.reader.check_for_commits(changed=changed)
        if changed:
            if before is not None:
                self._pace.note_foreign_commit(time.monotonic())
            self._due.check(conn, clock.now())

    def _idle_seconds(self, now: datetime) -> float:
        """Return the seconds until the first of: the next due time, rows that are worth another read, a look at clock or outbox."""
        at = time.monotonic()
        if at >= self._polled_at + self._poll_interval:
            self._polled_at = at
            self.reader.force_read()
        waits = [MAX_IDLE, self._polled_at + self._poll_interval - at, self._network.next_check(at)]
        next_due = None if self._stopping else self.scheduler.next_due()
        if next_due is not None:
            is_due = next_due <= clock.text(now)  # its half of the slots is full: a freed one wakes us
            waits.append(PAUSE if is_due else clock.seconds_until(next_due, now) + 0.001)
        waits.append(self.reader.next_mark(at) if self._stopping else self.reader.next_read(at))
        return 0.0 if self._results.wake_at(1) or self._due.is_busy else min(wait for wait in waits if wait is not None)

    def _stop(self, _: Session) -> None:
        self._stopping = True

    def _record_rest(self, conn: Session) -> None:
        """Record and mark what is left, for as long as a stop may take."""
        until = time.monotonic() + RECORD_WITHIN
        self._results.flush()
        while (self._results.count or self._results.waiting or self.reader.has_marks) and time.monotonic() < until:
            time.sleep(min(self.step(conn), max(0.0, until - time.monotonic())))
