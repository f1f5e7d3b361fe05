"""Opens PostgreSQL for the daemon with the outbox in an application's own database, which is another one."""

from __future__ import annotations

import asyncio
import functools
from contextlib import AbstractContextManager, AsyncExitStack

import structlog

from ...ops.sealing import Seals
from ...rules.postgres_urls import Place
from ..engine import CleaningStore
from . import listener, opening, stats
from . import worker as postgres
from .apart import LEFT_IN_DATABASE, PostgresActionStoreApart, PostgresCleaningStoreApart, identity_of
from .once import BUCKET, Once
from .service import PostgresService
from .store import OutboxInPostgres

log = structlog.get_logger("almirant_webhooks")


class PostgresServiceApart(PostgresService):
    """The database in a `place`, and the `outbox` in another, which are bound to each other: `storage.engine.StorageService`.

    Each daemon reads rows of its own projects, and marks them once they are in the database. It opens while the server of the
    outbox is away: what the database has is delivered. The rest is as in `PostgresService`.
    """

    def __init__(
        self,
        place: Place,
        closing: AsyncExitStack,
        seals: Seals,
        *,
        outbox: Place,
        token: str,
        request_seconds: float,
        name: str = "",
    ) -> None:
        super().__init__(place, closing, seals, token=token, request_seconds=request_seconds, name=name)
        self._outbox_place = outbox
        self._connect_outbox = functools.partial(opening.open_bound, outbox, functools.partial(identity_of, place))
        self.rows = self._store = OutboxInPostgres(self._connect_outbox, owned=lambda: self._share.active)
        self.actions = PostgresActionStoreApart()
        self.cleaning: CleaningStore = PostgresCleaningStoreApart(self._connect)
        self.paths = (place, outbox)

    async def _open_outbox(self) -> None:
        if (await self.database.run(stats.unread_rows))[1]:
            log.warning("rows are left", what=LEFT_IN_DATABASE)
        self.outbox = outbox = await self._start(postgres.Worker(self._connect_outbox))
        self.outbox_reader = await self._start(postgres.Worker(self._connect_outbox))
        self.outbox_upkeep = Once(outbox, lambda session: BUCKET in self._share.active)

    def _hearing(self) -> AbstractContextManager[asyncio.Event]:
        return listener.hearing(self._outbox_place, self._store.note_commit)
