"""Remove what is older than it is kept, and write down that there is a copy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from .. import clock
from ..rules.principals import Principal
from ..settings.schema import Settings
from ..storage.engine import Session
from .database import Database

STEP = 500  # rows, or pages given back to the file system


def ends(settings: Settings, now: datetime) -> tuple[str, str]:
    """Return before when taken and rejected rows of the outbox are older than they are kept, as text."""
    return clock.text(now - settings.retention.outbox), clock.text(now - settings.retention.failed)


class Pruning:
    """One removal of what is older than the keys of `retention` say, as of `now`, in steps of one transaction each."""

    def __init__(self, database: Database, settings: Settings, now: datetime) -> None:
        self._database = database
        keep = settings.retention
        self._store = database.store
        self._taken_before = now - keep.outbox
        self._sweep = self._store.pruning.log(succeeded=keep.succeeded, failed=keep.failed, now=now)
        self._rejected = self._store.pruning.rejected_rows(now - keep.failed)
        self._pages = self._taken = 0
        self._parts: list[Callable[[], Awaitable[bool]]] = [self._step_log, self._step_pages, self._step_outbox]

    @property
    def removed(self) -> dict[str, int]:
        """How many deliveries, events, free pages and rows of the outbox are gone so far, and what else is."""
        rows = self._taken + self._rejected.removed.total()
        return {**self._sweep.removed, "pages_given_back": self._pages, "outbox": rows}

    async def step(self) -> bool:
        """Take one step; tell whether there is another. Whoever calls rests between them, for the daemon and producers."""
        if not await self._parts[0]():
            del self._parts[0]
        return bool(self._parts)

    async def _step_log(self) -> bool:
        return await self._database.write(self._sweep.step, STEP)

    async def _step_pages(self) -> bool:
        pages = await self._database.write(self._store.pruning.release_pages, STEP)
        self._pages += pages
        return pages > 0

    async def _step_outbox(self) -> bool:
        taken, more = await self._database.write_outbox(self._prune_outbox)
        self._taken += taken
        return more

    def _prune_outbox(self, conn: Session, wait: float) -> tuple[int, bool]:
        with self._store.transaction(conn, wait):
            taken = self._store.pruning.prune_outbox(conn, self._taken_before, STEP)
            more = self._rejected.step(conn, STEP)
        return taken, more or taken == STEP


async def note_backup(database: Database, principal: Principal, *, now: datetime, size: int) -> None:
    """Write down that there is a copy of everything, of `size` bytes."""
    await database.write(
        database.store.audit.note,
        "backup.created",
        actor=principal.actor,
        now=now,
        project_id="",
        detail=f"{size} bytes",
    )
