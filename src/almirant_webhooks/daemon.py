"""The daemon: opens its parts, runs their tasks, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import structlog

from . import clock, engines
from .delivery.health import Health
from .delivery.loop import STEP, DeliveryLoop
from .delivery.outbox_reader import OutboxReader
from .delivery.scheduler import Scheduler
from .model import Due
from .ops import keys, limits, systemd
from .ops.guard import Guard
from .ops.heartbeat import Heartbeat
from .ops.keys import Keys
from .ops.metrics import Metrics
from .ops.tasks import Tasks
from .ops.threads import Threads
from .rules.event_types import CATALOGUE
from .rules.proxies import parse_proxy
from .rules.retry import Schedule
from .sending.sender import Sender
from .settings.schema import Settings
from .upkeep.cleaner import Cleaner
from .upkeep.observer import Observer
from .upkeep.pruner import Pruner
from .upkeep.resender import Resender
from .web.app import make_app
from .web.context import Context
from .web.pages.render import Ahead
from .web.server import Server

READERS = 2  # read-only connections of the pages and the API
LOOK_UPS = 2  # threads for names from the start
GRACE = 0.25  # seconds beyond the time limit that a stop waits for requests
STOP = 2.0  # seconds beyond the time limit that a stop takes in all: requests, records, marks, the pages, closing

log = structlog.get_logger("almirant_webhooks")


class Daemon:
    """All parts of the service in one process; `start`, then `wait`, then `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.address: tuple[str, int] | None = None
        self._listens_on: frozenset[tuple[str, int]] = frozenset()
        self._closing = contextlib.AsyncExitStack()
        self.storage = engines.service_of(settings, self._closing, self.metrics.transaction)
        self._ended = asyncio.Event()
        self._tasks = Tasks(self._ended.set)
        self._threads = Threads("look up")
        self._forced = asyncio.Event()
        self._not_ready: str | None = "starting"
        every = systemd.watchdog_interval()
        self._heartbeat = Heartbeat(self._feed, every / 3) if every else Heartbeat()

    async def start(self) -> None:
        """Open files, port and connections and begin to deliver; raises `Misconfigured` or `Refused`, leaving nothing open."""
        try:
            await self._start()
        except BaseException:
            await self._tasks.cancel()
            await self._closing.aclose()
            raise

    async def _start(self) -> None:
        fit = self._fit()
        storage = self.storage
        self._tasks.run("heartbeat", self._heartbeat.run())
        await storage.open()
        database = storage.database
        await self._serve_web(fit.web)
        sender = await self._open_sender(fit.idle)
        self._health = Health(self.metrics)
        self.loop = loop = self._make_loop(sender, fit.concurrency)
        self._closing.push_async_callback(database.run, lambda _: loop.reader.close())
        await database.run(lambda _: loop.reader.open())
        self._closing.push_async_callback(database.end_steps)
        interrupted = await loop.recover(clock.now())
        guard = Guard(storage.files, storage.workers)
        loop.begin(lambda error: self._tasks.died(STEP, error))
        every = self.settings.outbox.poll_interval.total_seconds()
        self._tasks.run("watch", storage.watch(loop.look, every))
        self._tasks.run("guard", guard.run())
        self._tasks.run("status", systemd.tell_status(self.not_ready, storage.share))
        await self._start_upkeep()
        self._not_ready = None
        database_path, outbox_path = map(str, storage.paths)
        log.info("started", database=database_path, outbox=outbox_path, interrupted=interrupted)
        systemd.notify("READY=1\nSTATUS=delivering", within=1.0)

    async def _open_sender(self, most_idle: int) -> Sender:
        """Open the sender, which dials none of the addresses that the pages listen on."""
        settings = self.settings
        sender = Sender(
            dataclasses.replace(settings.policy(), closed=self._listens_on),
            timeout=settings.delivery.timeout.total_seconds(),
            max_response_body=settings.delivery.max_response_body,
            ca_file=settings.egress.ca_file,
            stalled=self._heartbeat.stalled,
            threads=self._threads,
            most_idle=most_idle,
            proxy=parse_proxy(settings.egress.proxy),
            may_send=self.storage.may_send,
        )
        await sender.start()
        self._closing.push_async_callback(sender.close)
        return sender

    def _make_loop(self, sender: Sender, concurrency: int) -> DeliveryLoop:
        settings, storage = self.settings, self.storage
        known_types = frozenset((*CATALOGUE, *settings.events.extra_types))
        return DeliveryLoop(
            storage.database,
            storage.deliveries,
            sender,
            OutboxReader(self.metrics, known_types, storage.rows),
            self.metrics,
            self._health,
            Schedule(settings.delivery.retry_schedule),
            Scheduler(concurrency, settings.delivery.concurrency_per_webhook),
            poll_interval=settings.outbox.poll_interval.total_seconds(),
        )

    def _fit(self) -> limits.Fit:
        """Start the threads that names are looked up by, and say what the limit of open files allows."""
        self._closing.callback(self._threads.stop)
        self._threads.start(LOOK_UPS)
        configured = self.settings.delivery.concurrency
        fit = limits.fit(limits.raise_file_limit(), configured)
        if fit.concurrency < configured:
            words = "the limit of open files allows fewer requests at a time than delivery.concurrency"
            log.warning(words, configured=configured, how=limits.WAYS, **fit._asdict())
        return fit

    async def _start_upkeep(self) -> None:
        """Begin what goes on beside the delivering: pruning, looking at how it stands, and resends of many."""
        storage, loop = self.storage, self.loop
        database, reader = storage.upkeep, await storage.open_reader()

        def rests() -> str | None:
            return loop.failing() or storage.rests()

        def due(webhooks: set[str], times: dict[str, Due]) -> None:
            loop.update_due(webhooks, times)
            storage.tell_owners(times)

        observer = Observer(
            database,
            reader,
            storage.outbox_reader or reader,
            storage.observing,
            self.metrics,
            self._heartbeat,
            due=loop.update_due,
            tell_owners=storage.tell_owners,
            failing=loop.failing,
            rests=rests,
            store_bodies=loop.store_bodies,
            disable_after=self.settings.delivery.disable_after,
        )
        self.pruner = Pruner(database, storage.outbox_upkeep, storage.pruning, self.settings.retention, rests=rests)
        self._tasks.run("prune", self.pruner.run())
        self._tasks.run("clean", Cleaner(database, storage.outbox_upkeep, storage.cleaning, rests=rests).run())
        self._tasks.run("observe", observer.run())
        kept = self.settings.retention.shortest
        resender = Resender(database, storage.resending, kept=kept, due=due, rests=rests)
        self._tasks.run("resend", resender.run())

    async def _serve_web(self, max_connections: int) -> None:
        listen = self.settings.admin.listen
        if listen is None:
            return
        host, port = listen
        storage = self.storage
        readers = [await storage.open_reader() for _ in range(READERS)]
        templates = Ahead(self._threads)
        self._closing.callback(templates.cancel)
        ctx = Context(
            settings=self.settings,
            keys=storage.operator_keys or self._own_keys(),
            metrics=self.metrics,
            not_ready=self.not_ready,
            share=storage.share,
            reading=storage.reading,
            store=storage.actions,
            database=storage.database,
            outbox=storage.outbox,
            readers=readers,
            slow_reader=await storage.open_reader(),
            outbox_reader=storage.outbox_reader,
            wake=self._wake_loop,
            address=lambda: self.address,
            prepare_pages=templates.prepare,
        )
        server = Server(make_app(ctx), max_connections)
        self._closing.push_async_callback(server.close)
        await server.open(host, port, self._threads)
        self.address = server.addresses[0]
        # `localhost` is two addresses, and with port 0 each has a port of its own.
        self._listens_on = frozenset(server.addresses)

    def _own_keys(self) -> Keys:
        keys.ensure(self.settings.database.path)
        return Keys(self.settings)

    async def _wake_loop(self) -> None:
        if self._not_ready is None:
            await self.loop.reload()

    def not_ready(self) -> str | None:
        """Say why nothing is delivered at the moment, or None."""
        if self._not_ready is None:
            dead = self._tasks.why_not_ready()
            return dead or self._health.summary() or self.loop.outage or self._heartbeat.why_not_ready()
        return self._not_ready

    def _feed(self) -> None:
        """Feed the watchdog, while every part is there."""
        if self._tasks.dead is None:
            systemd.notify("WATCHDOG=1")

    def end(self, reason: str = "") -> None:
        """Ask for a stop; asked a second time, what is in flight is not waited for."""
        if self._ended.is_set():
            self._forced.set()
        self._ended.set()
        log.info("asked to stop", by=reason)

    async def wait(self) -> None:
        """Wait until a stop was asked for or a part has died."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Claim nothing more, let what is in flight finish, close: within the time limit and 2 s, whatever hangs.

        Raises what a part died of, and `Unclosed` when something could not be closed in that time.
        """
        loop = asyncio.get_running_loop()
        limit = self.settings.delivery.timeout.total_seconds()
        deadline = loop.time() + limit + STOP
        self._not_ready = self._tasks.why_not_ready() or "stopping"
        self._tasks.stop()
        log.info("stopping", in_flight=self.loop.in_flight)
        systemd.notify("STOPPING=1")
        left = await self._finish(limit + GRACE)
        await self._tasks.cancel()
        closing = asyncio.create_task(self._closing.aclose())
        await asyncio.wait({closing}, timeout=max(STOP / 4, deadline - loop.time()))
        log.info("stopped", forced=left is None, left_in_flight=left)
        if self._tasks.fault is not None:
            raise self._tasks.fault
        if not closing.done():
            raise Unclosed
        closing.result()

    async def _finish(self, limit: float) -> int | None:
        """Let what is in flight finish; return how many requests did not, None if the stop was forced."""
        self.loop.stop()
        if self._tasks.dead == STEP:  # nothing would be recorded any more
            return None
        finishing = asyncio.create_task(self.loop.finish(limit))
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait({finishing, forced}, return_when=asyncio.FIRST_COMPLETED)
        left = None
        if finishing.done():
            if (error := finishing.exception()) is not None:  # what is in flight can no longer be recorded
                self._tasks.died(STEP, error)
            else:
                left = finishing.result()
        self.loop.attempts.abandon()
        for task in (finishing, forced):
            task.cancel()
        await asyncio.gather(finishing, forced, return_exceptions=True)
        return left


class Unclosed(Exception):
    """Something hangs: the process has to be ended without waiting for it."""
