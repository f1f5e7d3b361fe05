"""The daemon: opens its parts, runs their tasks, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog
import uvloop
from aiohttp import web

from . import clock, keys, logs, systemd
from .db import lock, outbox
from .db.connection import open_reader
from .db.journal import open_for_service
from .db.migrate import migrate
from .db.worker import FairLock, Worker
from .dispatcher import Dispatcher
from .egress import Policy
from .event_types import CATALOGUE
from .fairness import Shares
from .heartbeat import Heartbeat
from .inbox import Inbox
from .intake import Intake
from .keys import Keys
from .metrics import Metrics
from .model import Misconfigured, Refused
from .observer import Observer
from .pruner import Pruner
from .resender import Resender
from .retry import Schedule
from .sending.sender import Sender
from .settings import Settings
from .troubles import Troubles, has_room
from .watcher import Watcher
from .web.app import make_app
from .web.context import Context

GUARD_EVERY = 2.0  # seconds between two looks at whether the files are still the ones that were opened
READERS = 2  # read-only connections of the pages and the API
GRACE = 0.5  # seconds beyond the time limit that a stop waits for requests: with records and marks it is 2 s

log = structlog.get_logger("almirant_webhooks")


class Daemon:
    """All parts of the service in one process; `start`, then `wait`, then `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.address: tuple[str, int] | None = None
        self._listens_on: frozenset[tuple[str, int]] = frozenset()
        self._closing = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()
        self._forced = asyncio.Event()
        self._not_ready: str | None = "starting"
        self._fault: BaseException | None = None
        self._outbox_reader: Worker | None = None
        every = systemd.watchdog_interval()
        self._heartbeat = Heartbeat(lambda: systemd.notify("WATCHDOG=1"), every / 3) if every else Heartbeat()

    async def start(self) -> None:
        """Open files, port and connections and begin to deliver; raises `Misconfigured` or `Refused`, leaving nothing open."""
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def _start(self) -> None:
        settings = self.settings
        database_path, outbox_path = settings.database.path, settings.outbox.path
        for line in migrate(database_path, None) if outbox_path is None else ():
            log.info("migrated", what=line)
        self._closing.enter_context(lock.hold(database_path))
        file_lock = FairLock()
        database = await self._open(
            Worker(lambda: open_for_service(database_path), self.metrics.transaction, file_lock)
        )
        opener = functools.partial(outbox.open_for_service, database_path, outbox_path)
        outbox_worker = await self._open(Worker(opener, self.metrics.transaction, None if outbox_path else file_lock))
        await outbox_worker.run(outbox.bind, *await database.run(outbox.identity))
        if words := await outbox_worker.run(outbox.caution):
            log.warning("outbox in rollback-journal mode", what=words)
        if outbox_path:
            opener = functools.partial(opener, read_only=True)
            self._outbox_reader = await self._open(Worker(opener))
        await self._serve_web(database, outbox_worker)
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
        )
        await sender.start()
        self._closing.push_async_callback(sender.close)
        self._troubles = troubles = Troubles(self.metrics)
        inbox = Inbox(one_file=outbox_path is None)
        self.dispatcher = dispatcher = Dispatcher(
            database,
            sender,
            self.metrics,
            troubles,
            Schedule(settings.delivery.retry_schedule),
            Shares(settings.delivery.concurrency, settings.delivery.concurrency_per_webhook),
            inbox,
            has_room=lambda: has_room(database_path),
        )
        self.intake = Intake(
            outbox_worker,
            inbox,
            self.metrics,
            troubles,
            poll_interval=settings.outbox.poll_interval.total_seconds(),
            known_types=frozenset((*CATALOGUE, *settings.events.extra_types)),
            has_room=lambda: has_room(database_path) and has_room(outbox_path or database_path),
        )
        interrupted = await dispatcher.agenda.recover(clock.now())
        files = [database_path.resolve(), (outbox_path or database_path).resolve()]
        self._guarded = {path: _identity(path) for path in files}
        self._run("heartbeat", self._heartbeat.run())
        self._run("fan out", self.intake.run())
        self._run("claim and record", dispatcher.run())
        every = settings.outbox.poll_interval.total_seconds()
        self._run("watch", Watcher(files, (dispatcher.look, self.intake.look), every).run())
        self._run("guard", self._guard())
        self._run("status", systemd.tell_status(self.not_ready))
        await self._start_upkeep(database, outbox_worker)
        self._not_ready = None
        log.info(
            "started", database=str(database_path), outbox=str(outbox_path or database_path), interrupted=interrupted
        )
        systemd.notify("READY=1\nSTATUS=delivering")

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
            due=dispatcher.agenda.update,
            failing=dispatcher.failing,
            store_bodies=dispatcher.keep_bodies,
        )
        self._run("prune", Pruner(database, outbox_worker, settings.retention, failing=dispatcher.failing).run())
        self._run("observe", observer.run())
        self._run("resend", Resender(database, due=dispatcher.agenda.update, failing=dispatcher.failing).run())

    async def _open(self, worker: Worker) -> Worker:
        await worker.open()
        self._closing.push_async_callback(worker.close)
        return worker

    async def _serve_web(self, database: Worker, outbox_worker: Worker) -> None:
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
        # What aiohttp would say of requests that it cannot parse has their bytes in it, tokens and links too.
        silent = logging.Logger("aiohttp.server", logging.CRITICAL)
        runner = web.AppRunner(make_app(here), access_log=None, logger=silent)
        await runner.setup()
        self._closing.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Refused(
                f"admin.listen = {host}:{port} cannot be opened ({error.strerror or error}): another program may have "
                "that port. Choose another, or '' for none."
            ) from None
        self.address = runner.addresses[0][:2]
        # `localhost` is two addresses, and with port 0 each has a port of its own.
        self._listens_on = frozenset((one[0], one[1]) for one in runner.addresses)

    async def _wake_dispatcher(self) -> None:
        if self._not_ready is None:
            self.dispatcher.agenda.reload(clock.now())

    def not_ready(self) -> str | None:
        """Say why nothing is delivered at the moment, or None."""
        if self._not_ready is None:
            return self._troubles.words() or self.dispatcher.outage or self._heartbeat.why_not_ready()
        return self._not_ready

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """End the daemon when one of its tasks dies: a part that is missing must not go unnoticed."""
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, Misconfigured):
                log.error("task died", task=task.get_name(), exc_info=error)
            self._fault = self._fault or error
            self._ended.set()

    async def _guard(self) -> None:
        """Stop when a file was deleted or replaced: SQLite would go on writing into what nobody can open any more."""
        while True:
            await asyncio.sleep(GUARD_EVERY)
            for path, identity in self._guarded.items():
                if _identity(path) != identity:
                    raise Misconfigured(f"{path} was deleted or replaced meanwhile. Put it back and start again.")

    def end(self) -> None:
        """Ask for a stop; asked a second time, what is in flight is not waited for."""
        if self._ended.is_set():
            self._forced.set()
        self._ended.set()

    async def wait(self) -> None:
        """Wait until a stop was asked for or a part has died."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Claim nothing more, let what is in flight finish within the time limit and 2 s, close; raises what a part died of."""
        self._not_ready = "stopping"
        log.info("stopping", in_flight=self.dispatcher.in_flight)
        systemd.notify("STOPPING=1")
        self.intake.stop()
        self.dispatcher.stop()
        finishing = asyncio.create_task(self.dispatcher.finish(self.settings.delivery.timeout.total_seconds() + GRACE))
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait({finishing, forced}, return_when=asyncio.FIRST_COMPLETED)
        left = finishing.result() if finishing.done() else None
        if left is not None:
            await self.intake.finish()
        for task in (finishing, forced, *self._tasks):
            task.cancel()
        await asyncio.gather(finishing, forced, *self._tasks, return_exceptions=True)
        await self._closing.aclose()
        log.info("stopped", forced=left is None, left_in_flight=left)
        if self._fault is not None:
            raise self._fault


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        there = os.stat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino


async def _main(settings: Settings) -> None:
    daemon = Daemon(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # a stop may be asked for while it starts
        loop.add_signal_handler(number, daemon.end)
    await daemon.start()
    await daemon.wait()
    await daemon.stop()


def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT; raises `Misconfigured` or `Refused` with a sentence."""
    logs.configure(settings.log.level, settings.log.format)
    # Each delivery makes hundreds of objects and no cycle: looking for cycles after every 700 cost a tenth of all time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(settings))
