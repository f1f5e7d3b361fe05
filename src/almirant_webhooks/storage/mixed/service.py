"""Opens SQLite for the daemon, and the outbox in PostgreSQL beside it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from ...ops.sealing import Seals
from ...rules.postgres_urls import Place
from ..engine import CleaningStore
from ..postgres import listener, opening
from ..postgres import worker as postgres
from ..postgres.store import OutboxInPostgres
from ..sqlite import outbox
from ..sqlite.connection import open_reader
from ..sqlite.service import SqliteService
from .stores import (
    MixedActionStore,
    MixedCleaningStore,
    MixedObservingStore,
    MixedPruningStore,
    MixedReadingStore,
)


class MixedService(SqliteService):
    """The database in its file, and the outbox in a `place`, which are bound to each other.

    The service opens while the server is away: what the database has is delivered.
    """

    def __init__(
        self,
        database_path: Path,
        place: Place,
        observe: Callable[[float, float], None],
        closing: AsyncExitStack,
        seals: Seals | None = None,
    ) -> None:
        super().__init__(database_path, None, observe, closing, seals)
        self._place = place
        self._connect = functools.partial(opening.open_bound, place, functools.partial(identity_of, database_path))
        self.rows = self._store = OutboxInPostgres(self._connect)
        self.actions, self.reading = MixedActionStore(), MixedReadingStore()
        self.pruning, self.observing = MixedPruningStore(), MixedObservingStore(database_path)
        self.cleaning: CleaningStore = MixedCleaningStore()

    @property
    def files(self) -> list[Path]:
        """The database's file, which has to be there while the daemon runs."""
        return [self.paths[0].resolve()]

    async def open(self) -> None:
        """Open the database, and begin to connect; raises `Misconfigured` or `Refused`, when another daemon has it too."""
        await self._open_database()
        self.outbox = await self._start(postgres.Worker(self._connect))
        self.outbox_reader = await self._start(postgres.Worker(self._connect))

    def watch(self, look: Callable[[bool], None], every: float) -> Coroutine[Any, Any, None]:
        """Return what calls `look` whenever somebody may have committed, and once `every` seconds, until it is cancelled."""
        return self._watch(super().watch(look, every), look)

    async def _watch(self, files: Coroutine[Any, Any, None], look: Callable[[bool], None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(files, name="watch the file")
            tasks.create_task(self._listen(look), name="listen")

    async def _listen(self, look: Callable[[bool], None]) -> None:
        with listener.hearing(self._place, self._store.note_commit) as heard:
            while True:
                await heard.wait()
                heard.clear()
                look(True)

    async def _start(self, worker: postgres.Worker) -> postgres.Worker:
        await worker.open()
        self._closing.push_async_callback(worker.close)
        self.workers.append(worker)
        return worker


def identity_of(path: Path) -> tuple[str, int]:
    """Return the id of the database in a file, and the number of the last batch that it took."""
    with closing(open_reader(path)) as conn:
        return outbox.identity(conn)
