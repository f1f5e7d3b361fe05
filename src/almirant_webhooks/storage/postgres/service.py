"""Opens PostgreSQL for the daemon: the workers, and the stores of each room. The outbox is in the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ...model import Due
from ...ops.keys import StoredKeys
from ...ops.sealing import NoKey, Seals, Unopenable
from ...rules.buckets import BUCKETS
from ...rules.postgres_urls import Place
from .. import engine
from ..engine import StorageError
from ..sql import revisions, sealed
from ..worker import Worker
from . import database_session, database_tables, listener, operator_keys
from .database_session import DatabaseSession, open_database
from .errors import as_engines
from .in_database import Inside, OutboxInDatabase
from .lease import Lease
from .once import BUCKET, DoneElsewhere, Once
from .share import Share
from .stores import (
    PostgresActionStore,
    PostgresCleaningStore,
    PostgresDeliveryStore,
    PostgresObservingStore,
    PostgresPruningStore,
    PostgresReadingStore,
    PostgresResendingStore,
)

TELL_EVERY = 1.0  # seconds between two times that others are told to read what is due


class PostgresService:
    """The database in a `place`, with the outbox in it: `storage.engine.StorageService`.

    Any number of daemons share the projects. `keep` says that rows which were taken from the outbox stay in it, marked. `token`
    is the one that is configured, `request_seconds` how long a request may take, `name` what this daemon is called.
    """

    database: Worker
    outbox: engine.Worker
    upkeep: engine.Worker
    outbox_upkeep: engine.Worker
    outbox_reader: engine.Worker | None = None

    def __init__(
        self,
        place: Place,
        closing: AsyncExitStack,
        seals: Seals,
        *,
        token: str,
        request_seconds: float,
        keep: bool = True,
        name: str = "",
    ) -> None:
        self._place = place
        self._seals = seals
        self._closing = closing
        self._lease = Lease(place, request_seconds, name, seals)
        self._share = share = Share(self._lease)
        self._is_untold = False
        self._told_at = 0.0  # monotonic seconds
        self.may_send: Callable[[], bool] | None = self._lease.is_alive
        self.operator_keys = StoredKeys(token)
        self.paths: tuple[Place, Place] = (place, place)
        self.files: list[Path] = []
        self.workers: list[engine.Worker] = []
        inside = Inside(keep=keep, share=share)
        self.deliveries = PostgresDeliveryStore(inside, self._lease, share)
        self.rows: engine.OutboxStore = OutboxInDatabase(inside)
        self.actions: engine.ActionStore = PostgresActionStore()
        self.reading: engine.ReadingStore = PostgresReadingStore()
        self.pruning: engine.PruningStore = PostgresPruningStore()
        self.resending: engine.ResendingStore = PostgresResendingStore()
        self.observing: engine.ObservingStore = PostgresObservingStore()
        self.cleaning: engine.CleaningStore = PostgresCleaningStore()

    async def open(self) -> None:
        """Connect; raises `Misconfigured` or `Refused`. The first batch makes it one of the daemons."""
        try:
            self.database = await self._open(self._connect_deliveries)
            await self._check()
            self.upkeep = Once(self.database, self._is_done_here)
            await self._open_outbox()
            self._lease.start(self.database.wake)
            self._closing.push_async_callback(asyncio.to_thread, self._lease.close)
        except StorageError as error:
            raise error.explained(f"the database ({self._place})") from error

    async def _open_outbox(self) -> None:
        self.outbox = outbox = await self._open(self._connect)
        self.outbox_upkeep = Once(outbox, self._is_done_here)

    def _is_done_here(self, session: DatabaseSession) -> bool:
        """Tell whether this daemon does what is done once, inside a transaction on the database."""
        return self._share.has(session, BUCKET)

    async def _check(self) -> None:
        """See that tables and keys are those of this release and this database."""
        await self.database.run(database_tables.check)
        await self.database.run(sealed.check)
        self.operator_keys.learn(*await self.database.run(operator_keys.read))

    def rests(self) -> str | None:
        """Tell whether another daemon does what is done once."""
        return None if BUCKET in self._share.active else DoneElsewhere.why

    def share(self) -> str | None:
        """Tell how many buckets this daemon delivers for."""
        if (count := len(self._share.active)) == 0:
            return "waiting for a share of the projects"
        return f"delivering for {count} of {BUCKETS} buckets"

    def tell_owners(self, due: Mapping[str, Due]) -> None:
        """Let other daemons read what is due, if any of these webhooks is not of this one."""
        self._is_untold |= any(not self._share.owns(item.project_id) for item in due.values())

    async def _tell(self) -> None:
        if self._is_untold and time.monotonic() >= self._told_at + TELL_EVERY:
            self._told_at, self._is_untold = time.monotonic(), False
            await self.database.write(revisions.bump_revision)

    async def open_reader(self) -> Worker:
        """Open another worker that reads the database alone."""
        return await self._open(self._connect)

    def watch(self, look: Callable[[bool], None], every: float) -> Coroutine[Any, Any, None]:
        """Return what calls `look` whenever somebody may have committed, and once `every` seconds, until it is cancelled."""
        return self._watch(look, every)

    async def _watch(self, look: Callable[[bool], None], every: float) -> None:
        with self._hearing() as heard:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await heard.wait()
                heard.clear()
                with suppress(StorageError):
                    await self._tell()
                with suppress(StorageError, NoKey, Unopenable):  # whoever sends meets the same, and says so
                    await self._learn_keys()
                look(True)

    def _hearing(self) -> AbstractContextManager[asyncio.Event]:
        """Listen to the producers while a block runs."""
        return listener.hearing(self._place, self.deliveries.note_commit)

    async def _learn_keys(self) -> None:
        """Take over keys that were changed by others, and seal the one of links with the newest key."""
        self.operator_keys.learn(*await self.database.run(operator_keys.read_again))
        if await self.database.run(operator_keys.is_stale):
            await self.database.write(operator_keys.reseal)

    def _connect(self) -> DatabaseSession:
        return open_database(self._place, self._seals, self._lease.application)

    def _connect_deliveries(self) -> DatabaseSession:
        session = self._connect()
        self._lease.deliver_by(session)
        return session

    async def _open(self, opener: Callable[[], DatabaseSession]) -> Worker:
        return await self._start(Worker(opener, self._writing, as_engines))

    async def _start(self, worker: Worker) -> Worker:
        await worker.open()
        self._closing.push_async_callback(worker.close)
        self.workers.append(worker)
        return worker

    @contextmanager
    def _writing(self, session: DatabaseSession, wait: float) -> Iterator[None]:
        """Run a block as one write transaction of a daemon that nobody has taken for gone."""
        with database_session.writing(session, wait):
            self._lease.check(session)
            yield
