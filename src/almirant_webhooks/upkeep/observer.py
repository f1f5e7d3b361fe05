"""Watches the service every few seconds: gauges, failing webhooks, and free space on the disk."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from .. import clock
from ..model import Due
from ..ops.heartbeat import Heartbeat
from ..ops.metrics import Metrics
from ..storage.engine import DISABLED_AT_ONCE, NOTICED_AT_ONCE, ObservingStore, StorageError, Worker

EVERY = 10.0  # seconds
# Seconds between two checks for new events of operators, which other transactions have made.
OWN_EVERY = 1.0
# With less free space than this (bytes) bodies of answers are not stored, so that deliveries go on for longer.
LOW_ON_DISK = 256 * 1024 * 1024

log = structlog.get_logger("almirant_webhooks")


class Waiting:
    """Measures how long rows of the outbox have waited, by our own clock: producers set `occurred_at` as they like."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()  # monotonic seconds, and the last row at that time

    def age(self, first: int | None, last: int, moment: float) -> float:
        """Return the seconds since the first unread row was first seen; `moment` is in monotonic seconds."""
        if not self._seen or self._seen[-1][1] != last:
            self._seen.append((moment, last))
        while self._seen and (first is None or self._seen[0][1] < first):
            self._seen.popleft()
        return moment - self._seen[0][0] if self._seen else 0.0


class Observer:
    """Sets gauges and reports changes. It reads on a connection of its own, so that counting delays no delivery.

    `store_bodies` is called with whether to store bodies of answers, `due` with the webhooks that have events about webhooks.
    `tell_owners` tells other daemons of events that this one has made; those of operators each daemon finds by itself.
    `disable_after` is how long a webhook may fail everything before it is disabled; None is for ever. While it `rests` another
    daemon, or none, writes what there is to tell.
    """

    def __init__(
        self,
        database: Worker,
        reader: Worker,
        outbox: Worker,
        store: ObservingStore,
        metrics: Metrics,
        heartbeat: Heartbeat,
        *,
        due: Callable[[set[str], dict[str, Due]], None],
        tell_owners: Callable[[Mapping[str, Due]], None],
        failing: Callable[[], str | None],
        rests: Callable[[], str | None],
        store_bodies: Callable[[bool], None],
        disable_after: timedelta | None = None,
    ) -> None:
        self._database = database
        self._reader = reader
        self._outbox = outbox
        self._store = store
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._due = due
        self._tell_owners = tell_owners
        self._failing = failing
        self._rests = rests
        self._store_bodies = store_bodies
        self._disable_after = disable_after
        self._low = False
        self._waiting = Waiting()

    async def run(self) -> None:
        """Observe every `EVERY` seconds until cancelled; an error is logged, and the next round tries again."""
        looked_at = -EVERY
        while True:
            try:
                if time.monotonic() - looked_at >= EVERY:
                    looked_at = time.monotonic()
                    await self.observe()
                if not self._failing():
                    await self._send_operator_events()
                if not self._rests():
                    await self._tell_projects()
            except (StorageError, OSError) as error:
                log.warning("observing failed", error=str(error))
            await asyncio.sleep(OWN_EVERY)

    async def observe(self) -> None:
        """Observe once. Raises `StorageError` or `OSError`."""
        now = clock.now()
        self._observe_sizes(await self._reader.run(self._store.sizes))
        if not self._rests():
            await self._report_webhook_health()
            await self._disable_down()
        pending = await self._reader.run(self._store.pending, now)
        for name, count in (("due", pending["due"]), ("scheduled", pending["scheduled"]), ("held", pending["held"])):
            self._metrics.pending.labels(name).set(count)
        self._metrics.oldest_due.set(pending["oldest_due_seconds"])
        self._metrics.failing.set((await self._reader.run(self._store.webhooks))["failing"])
        self._metrics.loop_lag.set(self._heartbeat.lag())
        # The outbox comes last: all else is observed while the server of one apart is away.
        wal = await self._reader.run(self._store.wal_bytes)
        self._metrics.wal_bytes.set(wal)
        self._metrics.wal_bytes.set(max(wal, await self._outbox.run(self._store.wal_bytes)))
        waiting = await self._outbox.run(self._store.outbox, now)
        self._metrics.unread.set(waiting["unread"])
        first, last = await self._outbox.run(self._store.unread_rows)
        self._metrics.unread_age.set(self._waiting.age(first, last, time.monotonic()))
        self._metrics.rejected_rows.set(waiting["rejected"])
        self._metrics.observed.set(now.timestamp())

    def _observe_sizes(self, sizes: dict[str, int]) -> None:
        self._metrics.database_bytes.set(sizes["database"])
        if "disk_free" not in sizes:  # of another machine
            return
        self._metrics.disk_free.set(sizes["disk_free"])
        low = sizes["disk_free"] < LOW_ON_DISK
        self._metrics.bodies_stored.set(not low)
        if low != self._low:
            self._low = low
            self._store_bodies(not low)
            words = "low on disk: answers' bodies are not stored" if low else "room on disk: answers' bodies are stored"
            (log.warning if low else log.info)(words, free_bytes=sizes["disk_free"])

    async def _report_webhook_health(self) -> None:
        """Log which webhooks have begun to fail every delivery, and which have recovered."""
        more = True
        while more:
            begun, over, touched = await self._database.write(self._store.note_health_changes, clock.now())
            for change in begun:
                log.warning("webhook failing", webhook_id=change.webhook_id, host=change.host, since=change.since)
            for change in over:
                log.info("webhook recovered", webhook_id=change.webhook_id, host=change.host, since=change.since)
            await self._begin(touched)
            more = NOTICED_AT_ONCE in (len(begun), len(over))

    async def _disable_down(self) -> None:
        """Disable webhooks that have failed everything for `delivery.disable_after`, in steps."""
        after, more = self._disable_after, True
        while after is not None and more:
            webhooks, touched = await self._database.write(self._store.disable_down, after, clock.now())
            for change in webhooks:
                log.warning("webhook disabled", webhook_id=change.webhook_id, host=change.host, since=change.since)
            self._metrics.disabled.inc(len(webhooks))
            await self._begin(touched)
            more = len(webhooks) == DISABLED_AT_ONCE

    async def _send_operator_events(self) -> None:
        """Tell the delivery loop which webhooks of operators have events to send."""
        if webhooks := await self._reader.run(self._store.own_webhooks):
            self._due(webhooks, await self._database.run(self._store.first_due, webhooks))

    async def _tell_projects(self) -> None:
        """Tell projects of deliveries that have failed for good, in steps."""
        while await self._reader.run(self._store.has_failed_to_tell, clock.now()):
            await self._begin(await self._database.write(self._store.tell_failed, clock.now()))

    async def _begin(self, webhooks: set[str]) -> None:
        """Tell the delivery loops when these webhooks have something due."""
        if webhooks:
            due = await self._database.run(self._store.first_due, webhooks)
            self._due(webhooks, due)
            self._tell_owners(due)
