"""Takes what was erased out of the engine's log of changes, where it stays after it is gone from the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ..storage.engine import CleaningStore, StorageError, Worker

EVERY = 1.0  # seconds between two looks
PATIENT = 10  # looks in a row after which it is said that a reader is in the way

log = structlog.get_logger("almirant_webhooks")


class Cleaner:
    """Looks every second whether something was erased, and cleans until nothing of it is left, after a restart too."""

    def __init__(
        self, database: Worker, outbox: Worker, store: CleaningStore, *, rests: Callable[[], str | None]
    ) -> None:
        self._rests = rests
        self._database = database
        self._outbox = outbox
        self._store = store
        self._in_vain = 0

    async def run(self) -> None:
        """Clean until cancelled; an error is logged, and a later look tries again."""
        while True:
            try:
                if not self._rests():
                    await self.step()
            except StorageError as error:
                log.warning("cleaning failed", error=str(error))
            await asyncio.sleep(EVERY)

    async def step(self) -> bool:
        """Clean if something was erased; return whether nothing is left. A reader of an earlier state leaves it to a later step."""
        since = await self._database.run(self._store.unclean_since)
        if since is None:
            return True
        if await self._outbox.run(self._store.empty_outbox_wal) and await self._database.run(self._store.empty_wal):
            await self._database.write(self._store.note_clean, since)
            log.info("what was erased is gone from the files")
            self._in_vain = 0
            return True
        self._in_vain += 1
        if self._in_vain == PATIENT:
            log.warning("a reader keeps what was erased in the WAL; it goes on until that is done")
        return False
