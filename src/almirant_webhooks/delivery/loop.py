"""The delivery loop: in each batch it records results, claims due deliveries and fans out new events.

The thread of the database connection runs `step` again and again. Between two steps it runs the calls of others. The event
loop only makes the requests: each batch hands it claims, and it hands back one result after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from .. import clock
from ..model import Due
from ..ops.metrics import Metrics
from ..rules.retry import Schedule
from ..storage.engine import DeliveryStore, DeliveryWorker, Session, StorageError, WrittenBatch
from . import recovery
from .attempts import Attempts, Sends
from .batch import FAN_OUT, Batch, Chooser
from .commits import Commits
from .due_loader import DueLoader
from .health import PAUSE, Health
from .network import Outage
from .outbox_reader import OutboxReader
from .pace import Pace
from .reports import report
from .rest import Rest
from .result_queue import ResultQueue
from .scheduler import Scheduler

RECORD_WITHIN = 0.75  # seconds that a stop waits for the last records and marks
STEP = "claim and record"


class DeliveryLoop:
    """The step and its state.

    The methods up to `finish` are for the event loop, all others run in the delivery thread. The state is in memory only:
    after a restart the database says what is in flight and what is due.
    """

    def __init__(
        self,
        worker: DeliveryWorker,
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
        scheduler.owns = store.owns
        self.is_writing = False  # true from the wait for the file's lock to the commit of a batch
        self.reader = reader
        self._metrics = metrics
        self._health = health
        self._schedule = schedule
        self._due = DueLoader(scheduler, store)
        self._pace = Pace(at_server=store.lock_is_fair)
        self._commits = Commits(store, reader, self._pace)
        self._chooser = Chooser(scheduler, reader, self._network, self._pace, health, schedule)
        self._rest = Rest(scheduler, reader, self._network, self._commits, poll_interval)
        self._paused_until = 0.0
        self._stopping = False

    # On the event loop

    async def recover(self, now: datetime) -> int:
        """Record attempts that a crash left open as interrupted, and read what is due; return how many were open.

        Call it before `begin`. Raises `StorageError`.
        """
        count = await recovery.recover(self.worker, self._store, self.scheduler, self._schedule, now)
        await self.reload()
        return count

    def begin(self, died: Callable[[Exception], None]) -> None:
        """Begin to deliver. `died` is called on the event loop with an error that no retry can fix."""
        self._event_loop = asyncio.get_running_loop()
        self.worker.take_steps(self.step, died)

    async def reload(self) -> None:
        """Read again what is due at all webhooks: this process has changed some of them."""
        await self.worker.run(lambda conn: self._due.reload(clock.now()))

    def look(self, first: bool = True) -> None:
        """Have the thread look whether another connection has committed; `first`: a write was noticed just now."""
        if self._commits.ask(first):
            self.worker.wake()

    def update_due(self, webhooks: set[str], due: dict[str, Due]) -> None:
        """Set when webhooks have their next attempt. One that is missing in `due`, which may be old, keeps its time."""
        self.worker.call(lambda _: self._update_due(webhooks & due.keys(), due))

    def store_bodies(self, keep: bool) -> None:
        """Store the bodies of answers, or drop them while the disk is nearly full."""
        self.worker.call(lambda _: self._results.store_bodies(keep))

    def failing(self) -> str | None:
        """Return why the database cannot be written, or None. Nothing is claimed meanwhile, as no result can be recorded."""
        return self._health.reason(STEP)

    @property
    def outage(self) -> str | None:
        """Why our own network counts as down, or nothing may begin; or None. One claim at a time probes the network."""
        return self._network.reason or self._store.why_not_begin()

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""
        return self.attempts.in_flight

    def stop(self) -> None:
        """Stop claiming deliveries and reading the outbox."""
        self.worker.call(self._stop)

    async def finish(self, limit: float) -> int:
        """Wait `limit` seconds for attempts, then `RECORD_WITHIN` for the last records; return how many were dropped."""
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
        """Write the next batch, if there is one; return the seconds until the next step, unless something wakes the thread.

        A batch is one transaction. Raises `Misconfigured` for an error that no retry can fix.
        """
        at = time.monotonic()
        try:
            if self._commits.step(conn, at):
                self._due.reload_if_changed(self._store.revision(conn), clock.now())
        except StorageError:
            self._due.invalidate()
            self._rest.end()  # a batch meets the same error, and says so
        if not (self._results.count or self._due.is_busy or self._store.lock_is_fair) and (rest := self._rest.left(at)):
            return rest  # a look has found nothing
        self._rest.end()
        if (wait := self._wait_before_batch(at)) > 0:
            return wait
        now = clock.now()
        full = not self._store.has_free_space()
        try:
            if (held := self._store.settle(conn, self._schedule, now)) is not None:
                self._take_share(held, now)
            self._due.step(conn, now)
            worked = self._run_batch(conn, now, at, full=full)
            self._mark(conn)
        except StorageError as error:
            self._health.fail(STEP, error)
            self._due.invalidate()  # it may be wrong now
            self.reader.force_read()
            return self._pause()
        if full:
            self._health.fail_disk_full(STEP)
        if full or self._store.why_not_begin():
            return self._pause()
        return 0.0 if worked else self._begin_rest(now)

    def _take_share(self, held: Mapping[str, float], now: datetime) -> None:
        """Forget what is of projects that are others' now, and read what is due in those that this daemon has taken."""
        self.scheduler.change_owner(held)
        self._due.reload(now)
        self._due.check_times(self._schedule.waits)
        self.reader.force_read()

    def _wait_before_batch(self, at: float) -> float:
        """Return the seconds to wait: after a failure, for more results, or so that producers get the file's lock."""
        self._results.wake_at(0)
        if at < self._paused_until:
            return self._paused_until - at
        ended = self._results.count
        others = self.scheduler.in_flight.total() - ended
        flows = self.reader.is_flowing and not (self._stopping or self.scheduler.is_anything_ready)
        rests = self.reader.next_read(at) != 0.0 or self._stopping
        enough, wait = self._pace.hold(at, ended, others, flows=flows, rests=rests)
        if ended < enough and wait > 0:
            return 0.0 if self._results.wake_at(enough) else wait
        gap = self._pace.gap(at) if self.reader.is_in_database and not self._stopping else 0.0
        return 0.0 if gap and self._chooser.may_be_brief(at) else gap

    def _pause(self) -> float:
        self._paused_until = time.monotonic() + PAUSE
        return PAUSE

    def _run_batch(self, conn: Session, now: datetime, at: float, *, full: bool) -> bool:
        """Choose a batch and write it; return whether there was anything to do."""
        self._results.take(now, at)
        failing = full or bool(self.failing())
        may_begin = not (failing or self._stopping or self._store.why_not_begin())
        batch = self._chooser.choose(self._results.waiting, now, at, may_begin=may_begin)
        work = batch.work
        if work.to_read is not None and not (work.results or work.starts) and self.reader.is_empty(conn, work.to_read):
            self._health.clear(FAN_OUT)
            return batch.is_brief  # there may be more to do than that
        # While failing, even an empty batch is written: it shows whether the trouble is over.
        if not (work.results or work.starts or work.rows or work.to_read is not None or failing):
            if batch.to_read is not None:
                self.reader.confirm_read(None, at)
            return batch.is_brief
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
        """Write and commit a batch. The event loop prepares its requests meanwhile, and sends them after the commit."""
        call, self.is_writing = self._event_loop.call_soon_threadsafe, True
        try:
            with self._store.transaction(conn):
                locked_at = time.monotonic()
                if batch.to_read is not None:
                    self._commits.pass_by(conn, locked_at)
                work = batch.work._replace(prepare=lambda claims: call(self.attempts.prepare, claims))
                changes = self._store.write(conn, work, self._schedule, clock.now())
                written_at = time.monotonic()
        except BaseException:
            call(self.attempts.drop)
            raise
        finally:
            self.is_writing = False
        if changes.begun:
            call(self.attempts.send)
        begun = len(changes.begun) + (changes.fan_out.deliveries if changes.fan_out else 0)
        attempts = len(batch.work.results) + begun
        self._pace.observe_batch(locked_at, written_at, time.monotonic(), attempts, is_brief=batch.is_brief)
        self._confirm(conn, batch, changes, full=full)

    def _confirm(self, conn: Session, batch: Batch, changes: WrittenBatch, *, full: bool) -> None:
        """Update the state after the commit of a batch, whose requests the event loop has been told to send."""
        ended_at = self._pace.ended_at
        self._results.drop_recorded(len(batch.work.results))
        if not full:
            self._health.clear(STEP)
        self.scheduler.count(changes.begun, ended_at)
        for claim in changes.begun:
            self.scheduler.begin(claim.webhook_id)
        self.scheduler.update_due(changes.touched, changes.due)
        if changes.fan_out:
            self.scheduler.learn(changes.fan_out)
        if changes.begun:
            self._network.note_start(ended_at)
        if batch.to_read is not None:
            self.reader.confirm_read(changes.fan_out, ended_at, self._pace.rest, is_brief=batch.is_brief)
            if self.reader.is_in_database:
                self._health.clear(FAN_OUT)
        self._due.reload_if_changed(changes.revision, clock.now())
        self._metrics.dropped.inc(changes.dropped)
        self._metrics.in_flight.set(self.scheduler.in_flight.total())
        report(batch.work.results, self._metrics, changes.gone, changes.unopenable)

    def _begin_rest(self, now: datetime) -> float:
        """Return the seconds until the next step, unless something wakes the thread."""
        is_busy = bool(self._results.wake_at(1) or self._results.waiting or self._due.is_busy)
        return self._rest.begin(time.monotonic(), now, is_busy=is_busy, stopping=self._stopping)

    def _update_due(self, webhooks: set[str], due: dict[str, Due]) -> None:
        self._rest.end()
        self.scheduler.update_due(webhooks, due)

    def _stop(self, _: Session) -> None:
        self._rest.end()
        self._stopping = True
        self._store.leave()

    def _record_rest(self, conn: Session) -> None:
        """Write the last records and marks, for `RECORD_WITHIN` seconds at most."""
        until = time.monotonic() + RECORD_WITHIN
        self._results.flush()
        self._rest.end()
        while (self._results.count or self._results.waiting or self.reader.has_marks) and time.monotonic() < until:
            time.sleep(min(self.step(conn), max(0.0, until - time.monotonic())))
