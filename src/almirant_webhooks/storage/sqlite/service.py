"""Opens SQLite for the daemon: the files, their workers, and the stores of each room."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog

from ...model import Due
from ...ops.keys import OperatorKeys
from ...ops.sealing import Seals, beside
from .. import engine
from . import lock, outbox, wal
from .action_store import SqliteActionStore
from .connection import open_reader
from .delivery_store import SqliteDeliveryStore
from .journal import caution, open_for_service, open_outbox_for_service
from .migrate import migrate
from .outbox_stores import outbox_store
from .reading_store import SqliteReadingStore
from .upkeep_store import SqliteObservingStore, SqlitePruningStore, SqliteResendingStore
from .watcher import Watcher
from .worker import FairLock, Worker

TELL_EVERY = 1.0  # seconds between two looks whether the key file has changed

log = structlog.get_logger("almirant_webhooks")


class SqliteService:
    """The database and the outbox, each for writing and in a thread of its own; the outbox is bound to the database.

    Until `open` it has neither. What it opens is closed by `closing`. `observe` is told how many seconds each transaction
    waited for its lock and for its commit.
    """

    database: Worker
    outbox: engine.Worker
    outbox_reader: engine.Worker | None = None
    operator_keys: OperatorKeys | None = None
    may_send: Callable[[], bool] | None = None

    def __init__(
        self,
        database_path: Path,
        outbox_path: Path | None,
        observe: Callable[[float, float], None],
        closing: AsyncExitStack,
        seals: Seals | None = None,
    ) -> None:
        self.paths = (database_path, outbox_path or database_path)
        self.workers: list[engine.Worker] = []
        self._has_other_file = outbox_path is not None
        self._open_outbox = functools.partial(open_outbox_for_service, database_path, outbox_path)
        self._open_outbox_reader = functools.partial(outbox.open_outbox, database_path, outbox_path, read_only=True)
        self._observe = observe
        self._seals = seals or beside(database_path)
        self._closing = closing
        self._lock = FairLock()  # of writers on the database's file
        self.deliveries = SqliteDeliveryStore(database_path, self._lock, observe)
        self.rows: engine.OutboxStore = outbox_store(self.paths[1], self._open_outbox if outbox_path else None, observe)
        self.actions: engine.ActionStore = SqliteActionStore()
        self.reading: engine.ReadingStore = SqliteReadingStore()
        self.pruning: engine.PruningStore = SqlitePruningStore()
        self.resending: engine.ResendingStore = SqliteResendingStore()
        self.observing: engine.ObservingStore = SqliteObservingStore(database_path)
        self.cleaning: engine.CleaningStore = wal

    @property
    def upkeep(self) -> engine.Worker:
        """The worker of the database: this daemon is alone."""
        return self.database

    @property
    def outbox_upkeep(self) -> engine.Worker:
        """The worker of the outbox."""
        return self.outbox

    def rests(self) -> str | None:
        """Return None: this daemon does all."""
        return None

    def share(self) -> str | None:
        """Return None: this daemon is alone."""
        return None

    def tell_owners(self, due: Mapping[str, Due]) -> None:
        """Do nothing: there are no others."""

    @property
    def files(self) -> list[Path]:
        """The files, which have to be there while the daemon runs."""
        return [path.resolve() for path in self.paths]

    async def open(self) -> None:
        """Open the files; raises `Misconfigured` or `Refused`, when another daemon has them too."""
        path = self.paths[0]
        for line in migrate(path, None, self._seals) if not self._has_other_file else ():
            log.info("migrated", what=line)
        await self._open_database()
        outbox_lock = None if self._has_other_file else self._lock
        self.outbox = await self._open(Worker(self._open_outbox, self._observe, outbox_lock))
        await self.outbox.run(outbox.bind, *await self.database.run(outbox.identity))
        if words := await self.outbox.run(caution):
            log.warning("outbox in rollback-journal mode", what=words)
        if self._has_other_file:
            self.outbox_reader = await self._open(Worker(self._open_outbox_reader))

    async def _open_database(self) -> None:
        path = self.paths[0]
        self._held = self._closing.enter_context(lock.hold(path))
        self._held.tell(self._seals.ids())
        self.database = await self._open(Worker(lambda: open_for_service(path, self._seals), self._observe, self._lock))

    async def open_reader(self) -> Worker:
        """Open another worker that reads the database alone."""
        return await self._open(Worker(lambda: open_reader(self.paths[0], self._seals)))

    def watch(self, look: Callable[[bool], None], every: float) -> Coroutine[Any, Any, None]:
        """Return what calls `look` whenever somebody may have committed, and once `every` seconds, until it is cancelled."""
        return self._watch_and_tell(Watcher(self.files, look, every))

    async def _watch_and_tell(self, watcher: Watcher) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watcher.run(), name="watch for commits")
            tasks.create_task(self._tell_keys(), name="tell of keys")

    async def _tell_keys(self) -> None:
        """Let commands know which keys this daemon has read, until it is cancelled."""
        while True:
            self._held.tell(self._seals.ids())
            await asyncio.sleep(TELL_EVERY)

    async def _open(self, worker: Worker) -> Worker:
        await worker.open()
        self._closing.push_async_callback(worker.close)
        self.workers.append(worker)
        return worker
