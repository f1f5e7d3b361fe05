"""The daemon: opens its parts, runs their tasks, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools

import structlog

from . import clock
from .delivery.health import Troubles
from .delivery.loop import STEP, DeliveryLoop
from .delivery.outbox_reader import OutboxReader
from .delivery.scheduler import Scheduler
from .ops import keys, limits, systemd
from .ops.guard import Guard
from .ops.heartbeat import Heartbeat
from .ops.keys import Keys
from .ops.metrics import Metrics
from .ops.tasks import Tasks
from .ops.threads import Threads
from .rules.event_types import CATALOGUE
from .rules.retry import Schedule
from .rules.urls import Policy
from .sending.sender import Sender
from .settings.schema import Settings
from .storage.sqlite import lock, outbox
from .storage.sqlite.connection import open_reader
from .storage.sqlite.delivery_store import SqliteDeliveryStore
from .storage.sqlite.journal import caution, open_for_service, open_outbox_for_service
from .storage.sqlite.migrate import migrate
from .storage.sqlite.outbox_stores import outbox_store
from .storage.sqlite.watcher import Watcher
from .storage.sqlite.worker import FairLock, Worker
from .upkeep.observer import Observer
from .upkeep.pruner import Pruner
from .upkeep.resender import Resender
from .web.app import make_app
from .web.context import Context
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
        self._database_path, self._outbox_path = settings.database.path, settings.outbox.path
        self._open_outbox = functools.partial(open_outbox_for_service, self._database_path, self._outbox_path)
        self.metrics = Metrics()
        self.address: tuple[str, int] | None = None
        self._listens_on: frozenset[tuple[str, int]] = frozenset()
        self._closing = contextlib.AsyncExitStack()
        self._ended = asyncio.Event()
        self._tasks = Tasks(self._ended.set)
        self._workers: list[Worker] = []
        self._threads = Threads("look up")
        self._forced = asyncio.Event()
        self._not_ready: str | None = "starting"
        self._outbox_reader: Worker | None = None
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
        database, outbox_worker = self.writers = await self._open_files()
        await self._serve_web(database, outbox_worker, fit.web)
        sender = await self._open_sender(fit.idle)
        self._troubles = Troubles(self.metrics)
        self.dispatcher = dispatcher = self._make_loop(database, sender, fit.concurrency)
        self._closing.push_async_callback(database.run, lambda _: dispatcher.reader.close())
        await database.run(lambda _: dispatcher.reader.open())
        self._closing.push_async_callback(database.end_steps)
        interrupted = await dispatcher.recover(clock.now())
        paths = (self._database_path, self._outbox_path or self._database_path)
        files = [path.resolve() for path in paths]
        guard = Guard(files, self._workers)
        self._tasks.run("heartbeat", self._heartbeat.run())
        dispatcher.begin(lambda error: self._tasks.died(STEP, error))
        every = self.settings.outbox.poll_interval.total_seconds()
        self._tasks.run("watch", Watcher(files, (dispatcher.look,), every).run())
        self._tasks.run("guard", guard.run())
        self._tasks.run("status", systemd.tell_status(self.not_ready))
        await self._start_upkeep(database, outbox_worker)
        self._not_ready = None
        log.info("started", database=str(paths[0]), outbox=str(paths[1]), interrupted=interrupted)
        systemd.notify("READY=1\nSTATUS=delivering", within=1.0)

    async def _open_files(self) -> tuple[Worker, Worker]:
        """Open the database and the outbox, bound to it, each for writing and in a thread of its own."""
        database_path, outbox_path = self._database_path, self._outbox_path
        for line in migrate(database_path, None) if outbox_path is None else ():
            log.info("migrated", what=line)
        self._closing.enter_context(lock.hold(database_path))
        file_lock = FairLock()
        database = await self._open(
            Worker(lambda: open_for_service(database_path), self.metrics.transaction, file_lock)
        )
        outbox_lock = None if outbox_path else file_lock
        outbox_worker = await self._open(Worker(self._open_outbox, self.metrics.transaction, outbox_lock))
        await outbox_worker.run(outbox.bind, *await database.run(outbox.identity))
        if words := await outbox_worker.run(caution):
            log.warning("outbox in rollback-journal mode", what=words)
        if outbox_path:
            read_only = functools.partial(outbox.open_outbox, database_path, outbox_path, read_only=True)
            self._outbox_reader = await self._open(Worker(read_only))
        return database, outbox_worker

    async def _open_sender(self, most_idle: int) -> Sender:
        """Open the sender, which dials none of the addresses that the pages listen on."""
        settings = self.settings
        sender = Sender(
            Policy(
                allow_localhost=settings.egress.allow_localhost,
                allowed_networks=settings.egress.allowed_networks,
                closed=self._listens_on,
            ),
            timeout=settings.delivery.timeout.total_seconds(),
            max_response_body=settings.delivery.max_response_body,
            ca_file=settings.egress.ca_file,
            stalled=self._heartbeat.stalled,
            threads=self._threads,
            most_idle=most_idle,
        )
        await sender.start()
        self._closing.push_async_callback(sender.close)
        return sender

    def _make_loop(self, database: Worker, sender: Sender, concurrency: int) -> DeliveryLoop:
        settings, database_path, outbox_path = self.settings, self._database_path, self._outbox_path
        known_types = frozenset((*CATALOGUE, *settings.events.extra_types))
        observe = self.metrics.transaction
        rows = outbox_store(outbox_path or database_path, self._open_outbox if outbox_path else None, observe)
        return DeliveryLoop(
            database,
            SqliteDeliveryStore(database_path, database.lock, observe),
            sender,
            OutboxReader(self.metrics, known_types, rows),
            self.metrics,
            self._troubles,
            Schedule(settings.delivery.retry_schedule),
            Scheduler(concurrency, settings.delivery.concurrency_per_webhook),
            poll_interval=settings.outbox.poll_interval.total_seconds(),
        )

    def _fit(self) -> limits.Fit:
        """Start the threads that names are looked up by, and say what the limit of open files allows."""
        self._closing.callback(self._threads.stop)
        self._threads.start(LOOK_UPS)
        wanted = self.settings.delivery.concurrency
        fit = limits.fit(limits.take_all_files(), wanted)
        if fit.concurrency < wanted:
            words = "the limit of open files allows fewer requests at a time than delivery.concurrency"
            log.warning(words, configured=wanted, how=limits.WAYS, **fit._asdict())
        return fit

    async def _start_upkeep(self, database: Worker, outbox_worker: Worker) -> None:
        """Begin what goes on beside the delivering: pruning, looking at how it stands, and resends of many."""
        settings, dispatcher = self.settings, self.dispatcher
        reader = await self._open(Worker(lambda: open_reader(settings.database.path)))
        observer = Observer(
            database,
            reader,
            self._outbox_reader or reader,
            settings.database.path,
            self.metrics,
            self._heartbeat,
            due=dispatcher.tell,
            failing=dispatcher.failing,
            store_bodies=dispatcher.keep_bodies,
        )
        self.pruner = Pruner(database, outbox_worker, settings.retention, failing=dispatcher.failing)
        self._tasks.run("prune", self.pruner.run())
        self._tasks.run("observe", observer.run())
        self._tasks.run("resend", Resender(database, due=dispatcher.tell, failing=dispatcher.failing).run())

    async def _open(self, worker: Worker) -> Worker:
        await worker.open()
        self._closing.push_async_callback(worker.close)
        self._workers.append(worker)
        return worker

    async def _serve_web(self, database: Worker, outbox_worker: Worker, most: int) -> None:
        listen = self.settings.admin.listen
        if listen is None:
            return
        host, port = listen
        path = self.settings.database.path
        keys.ensure(path)
        readers = [await self._open(Worker(lambda: open_reader(path))) for _ in range(READERS)]
        here = Context(
            settings=self.settings,
            keys=Keys(self.settings),
            metrics=self.metrics,
            not_ready=self.not_ready,
            database=database,
            outbox=outbox_worker,
            readers=readers,
            outbox_reader=self._outbox_reader,
            wake=self._wake_dispatcher,
            address=lambda: self.address,
        )
        server = Server(make_app(here), most)
        self._closing.push_async_callback(server.close)
        await server.open(host, port, self._threads)
        self.address = server.addresses[0]
        # `localhost` is two addresses, and with port 0 each has a port of its own.
        self._listens_on = frozenset(server.addresses)

    async def _wake_dispatcher(self) -> None:
        if self._not_ready is None:
            await self.dispatcher.reload()

    def not_ready(self) -> str | None:
        """Say why nothing is delivered at the moment, or None."""
        if self._not_ready is None:
            dead = self._tasks.why_not_ready()
            return dead or self._troubles.words() or self.dispatcher.outage or self._heartbeat.why_not_ready()
        return self._not_ready

    def _feed(self) -> None:
        """Feed the watchdog, while every part is there."""
        if self._tasks.dead is None:
            systemd.notify("WATCHDOG=1")

    def end(self, why: str = "") -> None:
        """Ask for a stop; asked a second time, what is in flight is not waited for."""
        if self._ended.is_set():
            self._forced.set()
        self._ended.set()
        log.info("asked to stop", by=why)

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
        log.info("stopping", in_flight=self.dispatcher.in_flight)
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
        self.dispatcher.stop()
        if self._tasks.dead == STEP:  # nothing would be recorded any more
            return None
        finishing = asyncio.create_task(self.dispatcher.finish(limit))
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait({finishing, forced}, return_when=asyncio.FIRST_COMPLETED)
        left = None
        if finishing.done():
            if (error := finishing.exception()) is not None:  # what is in flight can no longer be recorded
                self._tasks.died(STEP, error)
            else:
                left = finishing.result()
        self.dispatcher.attempts.abandon()
        for task in (finishing, forced):
            task.cancel()
        await asyncio.gather(finishing, forced, return_exceptions=True)
        return left


class Unclosed(Exception):
    """Something hangs: the process has to be ended without waiting for it."""
