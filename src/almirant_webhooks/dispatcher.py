"""The loop: fan out, claim, send, record. Each step is one transaction; here it is only decided when to take which."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from . import clock
from .db import deliveries, fanout, outbox, results, webhooks
from .db.connection import data_version
from .db.worker import Worker
from .fairness import Shares
from .metrics import Metrics
from .model import Claim, Outcome, Result
from .retry import Schedule

FAN_OUT_ROWS = 500
CLAIM_MOST = 256
RELOAD_EVERY = timedelta(seconds=30)
PAUSE = 0.5  # seconds after a failed transaction

log = structlog.get_logger("almirant_webhooks")


class Sends(Protocol):
    """What makes the request of a claim."""

    async def send(self, claim: Claim) -> Result:
        """Make one request; never raises for what a receiver did."""


class Dispatcher:
    """Moves events from the outbox to their receivers.

    Fan-out, claiming and recording are tasks of their own, so that a producer that holds the outbox's lock does not
    delay deliveries.
    """

    def __init__(
        self,
        database: Worker,
        outbox_worker: Worker,
        sender: Sends,
        metrics: Metrics,
        schedule: Schedule,
        shares: Shares,
        *,
        poll_interval: float,
        known_types: frozenset[str],
    ) -> None:
        self._troubles: dict[str, str] = {}
        self.shares = shares
        self._database = database
        self._outbox = outbox_worker
        self._sender = sender
        self._metrics = metrics
        self._schedule = schedule
        self._poll_interval = poll_interval
        self._known_types = known_types
        self._slots = asyncio.Semaphore(shares.concurrency)
        self._attempts: set[asyncio.Task[None]] = set()
        self._results: list[Result] = []
        self._has_results = asyncio.Event()
        self._wake_fan_out = asyncio.Event()
        self._wake_claim = asyncio.Event()
        self._idle = asyncio.Event()
        self._stopping = False
        self._versions: tuple[int, int] | None = None
        self._revision = -1

    @property
    def failing(self) -> str | None:
        """The trouble while the database cannot be written: nothing is claimed then, as it could not be recorded."""
        return self._troubles.get("record") or self._troubles.get("claim")

    async def recover(self, now: datetime) -> int:
        """Record what a crash left open as interrupted, and look up what is due; before the loops start."""
        count = await self._database.write(results.interrupt_open, self._schedule, now)
        await self._reload()
        return count

    async def look(self) -> None:
        """Wake what has something to do since another connection committed."""
        try:
            versions = await self._outbox.run(data_version), await self._database.run(data_version)
        except sqlite3.OperationalError:  # a file in rollback-journal mode while a producer commits
            self._wake_fan_out.set()
            return
        before, self._versions = self._versions or versions, versions
        if versions[0] != before[0]:
            self._wake_fan_out.set()
        if versions[1] != before[1] and await self._database.run(webhooks.revision) != self._revision:
            await self._reload()

    def stop(self) -> None:
        """Claim and fan out nothing more."""
        self._stopping = True
        self._wake_fan_out.set()
        self._wake_claim.set()

    async def finish(self, limit: float) -> int:
        """Wait until all that is in flight has ended and is recorded, `limit` seconds at most; return what is left."""
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=limit)
        left = list(self._attempts)
        for task in left:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while self._results or self._has_results.is_set():
                    self._idle.clear()
                    await self._idle.wait()
        return len(left)

    async def run_fan_out(self) -> None:
        """Fan out whenever the outbox changed, and every poll interval as the backstop."""
        while not self._stopping:
            self._wake_fan_out.clear()
            try:
                more = await self._fan_out(clock.now())
            except sqlite3.Error as error:
                await self._trouble("fan out", error)
                continue
            if not more:
                await _wait(self._wake_fan_out, self._poll_interval)

    async def run_claim(self) -> None:
        """Claim whenever there is something due and a slot for it."""
        loaded = clock.now()
        while not self._stopping:
            self._wake_claim.clear()
            now = clock.now()
            try:
                if "claim" in self._troubles:  # an empty transaction tells whether it is over
                    await self._database.write(lambda conn: None)
                    self._better("claim")
                if not timedelta(0) <= now - loaded < RELOAD_EVERY:
                    await self._reload()
                    loaded = now
                room = 4 * self.shares.concurrency - len(self._results)
                wanted = (
                    {} if "record" in self._troubles else self.shares.share_out(clock.text(now), min(room, CLAIM_MOST))
                )
                if wanted:
                    await self._claim(wanted, now)
                    continue
            except sqlite3.Error as error:
                await self._trouble("claim", error)
                continue
            await _wait(self._wake_claim, self._until_due(now))

    async def run_record(self) -> None:
        """Record results in groups: all that gathered while the last group was written."""
        while True:
            await self._has_results.wait()
            self._has_results.clear()
            group, self._results = self._results, []
            while group:
                try:
                    await self._record(group)
                    break
                except sqlite3.Error as error:
                    await self._trouble("record", error)
            self._idle.set()

    async def _fan_out(self, now: datetime) -> bool:
        rows = await self._outbox.run(outbox.read_unread, FAN_OUT_ROWS)
        if not rows:
            self._better("fan out")
            return False

        def copy(conn: sqlite3.Connection) -> tuple[fanout.FanOut, dict[str, str]]:
            done = fanout.fan_out(conn, rows, self._schedule.waits[0], now)
            return done, deliveries.first_due(conn, done.due)

        done, due = await self._database.write(copy)
        self.shares.update_due(done.due, due)
        self._wake_claim.set()
        await self._outbox.run(outbox.mark, done.marks, done.batch, clock.text(now))
        self._better("fan out")
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

    async def _claim(self, wanted: dict[str, int], now: datetime) -> None:
        def take(conn: sqlite3.Connection) -> tuple[list[Claim], dict[str, str]]:
            claims = deliveries.claim(conn, wanted, now)
            return claims, deliveries.first_due(conn, wanted)

        claims, due = await self._database.write(take)
        self.shares.update_due(set(wanted), due)
        for claim in claims:
            self.shares.begin(claim.webhook_id)
            task = asyncio.create_task(self._attempt(claim), name=claim.delivery_id)
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)
        self._metrics.in_flight.set(len(self._attempts))

    async def _attempt(self, claim: Claim) -> None:
        async with self._slots:
            try:
                result = await self._sender.send(claim)
            except Exception:  # a fault of ours must not strand the delivery
                log.exception("sender failed", delivery_id=claim.delivery_id)
                result = Result(claim, Outcome.INTERRUPTED, clock.now(), 0, cause="internal error")
        self.shares.end(claim.webhook_id, timed_out=result.outcome is Outcome.TIMEOUT, duration_ms=result.duration_ms)
        self._results.append(result)
        self._has_results.set()
        self._wake_claim.set()

    async def _record(self, group: list[Result]) -> None:
        touched = {result.claim.webhook_id for result in group}

        def write(conn: sqlite3.Connection) -> tuple[int, dict[str, str]]:
            return results.record(conn, group, self._schedule), deliveries.first_due(conn, touched)

        dropped, due = await self._database.write(write)
        self._better("record")
        self.shares.update_due(touched, due)
        self._wake_claim.set()
        self._metrics.dropped.inc(dropped)
        self._metrics.in_flight.set(len(self._attempts))
        for result in group:
            self._report(result)

    def _report(self, result: Result) -> None:
        claim = result.claim
        self._metrics.attempts.labels(result.outcome.value).inc()
        self._metrics.duration.observe(result.duration_ms / 1000)
        succeeded = result.outcome is Outcome.SUCCESS
        (log.debug if succeeded else log.warning)(
            "attempt succeeded" if succeeded else "attempt failed",
            delivery_id=claim.delivery_id,
            webhook_id=claim.webhook_id,
            host=dict(claim.headers).get("Host"),
            number=claim.number,
            trigger=claim.trigger.value,
            outcome=result.outcome.value,
            status_code=result.status_code,
            cause=result.cause,
            duration_ms=result.duration_ms,
        )

    async def _reload(self) -> None:
        def read(conn: sqlite3.Connection) -> tuple[int, dict[str, str]]:
            return webhooks.revision(conn), deliveries.first_due(conn)

        self._revision, due = await self._database.run(read)
        self.shares.replace_due(due)
        self._wake_claim.set()

    def _until_due(self, now: datetime) -> float:
        """Return the seconds until something is due, at most 10, so that a clock that was set is noticed."""
        next_due = None if self.failing else self.shares.next_due()
        if next_due is None:
            return 10.0
        if next_due <= clock.text(now):  # due, but its half of the slots is full: a freed one wakes us
            return PAUSE
        return min((clock.parse(next_due) - now).total_seconds() + 0.001, 10.0)

    async def _trouble(self, step: str, error: sqlite3.Error) -> None:
        if step not in self._troubles:
            log.error("database trouble", step=step, error=str(error))
        self._troubles[step] = str(error)
        self._metrics.database_errors.inc()
        await asyncio.sleep(PAUSE)

    def _better(self, step: str) -> None:
        if self._troubles.pop(step, None) is not None:
            log.info("database works again", step=step)
            self._wake_claim.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
