"""Remove what is older than it is kept, and write down that there is a copy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from .. import clock
from ..rules.principals import Principal
from ..settings.schema import Settings
from ..storage.engine import Session, Walk
from .database import Database

STEP = 500  # rows, or pages given back to the file system
CONTENT_STEP = 200  # rows whose content is overwritten


def ends(settings: Settings, now: datetime) -> tuple[str, str]:
    """Return before when taken and rejected rows of the outbox are older than they are kept, as text."""
    return clock.text(now - settings.retention.outbox), clock.text(now - settings.retention.failed)


async def count_payloads(database: Database, kept: timedelta, now: datetime) -> int:
    """Return how many rows of the outbox have payloads of events that were taken longer ago than content is `kept`."""
    return await database.write_outbox(lambda conn, wait: database.store.erasing_outbox.count_old(conn, now - kept))


class Pruning:
    """One removal of what is older than the keys of `retention` say, as of `now`, in steps of one transaction each.

    Content goes before rows do, so that it is overwritten, and the log of changes emptied of it (`unclean_since`).
    """

    def __init__(self, database: Database, settings: Settings, now: datetime) -> None:
        self._database = database
        keep = settings.retention
        self._store = database.store
        self._taken_before = now - keep.outbox
        self._sweep = self._store.pruning.log(succeeded=keep.succeeded, failed=keep.failed, now=now)
        self._rejected = self._store.pruning.rejected_rows(now - keep.failed)
        self._now = now
        self._pages = self._taken = 0
        self._parts: list[Callable[[], Awaitable[bool]]] = [self._step_log, self._step_pages, self._step_outbox]
        self._content: dict[str, Walk] = {}
        if keep.bodies is not None:
            self._content["bodies"] = self._store.pruning.old_bodies(now - keep.bodies, now)
            self._content["payloads"] = self._store.pruning.old_payloads(now - keep.bodies)
            self._parts = [self._step_bodies, self._step_log, self._step_pages, self._step_payloads, self._step_outbox]

    @property
    def removed(self) -> dict[str, int]:
        """How many deliveries, events, free pages and rows of the outbox are gone so far, and what else is."""
        rows = self._taken + self._rejected.removed.total()
        content = {name: walk.removed[name] for name, walk in self._content.items()}
        return {**self._sweep.removed, "pages_given_back": self._pages, "outbox": rows, **content}

    async def step(self) -> bool:
        """Take one step; tell whether there is another. Whoever calls rests between them, for the daemon and producers."""
        if not await self._parts[0]():
            del self._parts[0]
        return bool(self._parts)

    async def _step_bodies(self) -> bool:
        return await self._database.write(self._content["bodies"].step, CONTENT_STEP)

    async def _step_log(self) -> bool:
        return await self._database.write(self._sweep.step, STEP)

    async def _step_pages(self) -> bool:
        pages = await self._database.write(self._store.pruning.release_pages, STEP)
        self._pages += pages
        return pages > 0

    async def _step_payloads(self) -> bool:
        walk = self._content["payloads"]
        before = walk.removed["payloads"]

        def step(conn: Session, wait: float) -> bool:
            with self._store.transaction(conn, wait):
                return walk.step(conn, CONTENT_STEP)

        more = await self._database.write_outbox(step)
        if walk.removed["payloads"] > before:
            await self._database.write(self._store.pruning.note_erased, self._now)
        return more

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
