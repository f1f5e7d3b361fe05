"""Erase the content of events, by id or by a text in them: for operators, in steps beside the daemon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..model import NotFound, Refused
from ..rules.principals import Principal
from ..storage.engine import FoundEvent, Session, TriggerFails
from .database import Database

STEP = 200  # rows in one transaction


class Found(NamedTuple):
    """What a look has found: events of the log, rejected rows of the outbox, and where to go on, None at the end."""

    events: list[FoundEvent]
    rejected: list[int]
    cursor: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many events, deliveries and rejected rows these are."""
        deliveries = sum(event.deliveries for event in self.events)
        return {"events": len(self.events), "deliveries": deliveries, "rejected_rows": len(self.rejected)}


async def find(database: Database, principal: Principal, event_id: str, project_id: str | None) -> Found:
    """Find an event by its id, and rejected rows of the outbox with that id. Raises `NotFound`, and `Refused` for several."""
    _check(principal)
    store = database.store
    event = await database.read(store.erasing.find, event_id, project_id)
    project = event.project_id if event is not None else project_id
    rejected: list[int] = []
    if project is not None:
        rejected = await database.write_outbox(
            lambda conn, wait: store.erasing_outbox.rejected_of(conn, event_id, project)
        )
    if event is None and not rejected:
        raise NotFound(
            f"There is no event {event_id}. A row of the outbox that was rejected is erased with its project named too, and one "
            "that was not taken yet once the daemon has taken it.",
            "id",
        )
    return Found([event] if event is not None else [], rejected)


async def search(
    database: Database,
    principal: Principal,
    text: str,
    *,
    project_id: str | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
) -> Found:
    """Find events and rejected rows with a text, newest first; a look is bounded, and `cursor` is that of the one before.

    Raises `Refused` for an empty text and a cursor that is none.
    """
    _check(principal)
    if not text.strip():
        raise Refused("Name the text to search for; an empty one is in every event.", "search")
    store = database.store
    kind, at = _read_cursor(cursor)
    if kind == "e":
        events, following = await database.read(store.erasing.search, text, project_id, since, at)
        return Found(events, [], "r0" if following is None else f"e{following}")
    rows, behind = await database.write_outbox(
        lambda conn, wait: store.erasing_outbox.rejected_with_text(conn, text, project_id, since, at or 0)
    )
    return Found([], rows, None if behind is None else f"r{behind}")


async def unclean_since(database: Database) -> str | None:
    """Return the time of the last erasing that may have left something in the log of changes, or None."""
    return await database.read(database.store.erasing.unclean_since)


async def note_clean(database: Database, since: str) -> None:
    """Note that the log of changes was emptied after a time."""
    await database.write(database.store.erasing.note_clean, since)


def _read_cursor(cursor: str | None) -> tuple[str, int | None]:
    if cursor is None:
        return "e", None
    kind, number = cursor[:1], cursor[1:]
    if kind not in ("e", "r") or not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise Refused("The cursor is not one that a search gave.", "cursor")
    return kind, int(number)


def _check(principal: Principal) -> None:
    if principal.project_id is not None:
        raise Refused("Erasing is for operators.")


class Erasing:
    """Erases what was found, in steps of one transaction each; the audit trail has who and how many with the first one.

    `erased` counts. What waits of the events is cancelled; an event is marked as erased with its last step.
    """

    def __init__(self, database: Database, principal: Principal, found: Found, *, how: str, now: datetime) -> None:
        self._database = database
        self._principal = principal
        self._found = found
        self._how = how
        self._now = now
        self._walk = database.store.erasing.erasure([event.seq for event in found.events], now)
        self._rows = 0
        self._steps: list[Callable[[], Awaitable[bool]]] = [
            self._write_down,
            self._erase_what_may_be,
            self._erase_events,
            self._erase_rows,  # once more: a row may have been read and not marked yet
            self._note,
        ]

    @property
    def erased(self) -> dict[str, int]:
        """How many events, deliveries and rows of the outbox have no content any more."""
        removed = self._walk.removed
        return {"events": removed["events"], "deliveries": removed["deliveries"], "outbox_rows": self._rows}

    async def step(self) -> bool:
        """Take one step; tell whether there is another. Raises `TriggerFails` where an application keeps its rows."""
        if not await self._steps[0]():
            del self._steps[0]
        return bool(self._steps)

    async def _write_down(self) -> bool:
        projects = Counter(event.project_id for event in self._found.events)
        if self._found.rejected:
            projects[""] += len(self._found.rejected)

        def note(conn: Session) -> None:
            for project, count in projects.items():
                what = f"{count} events" if project else f"{count} rejected rows of the outbox"
                self._database.store.audit.note(
                    conn,
                    "event.erased",
                    actor=self._principal.actor,
                    now=self._now,
                    project_id=project,
                    detail=f"{what}, {self._how}",
                )

        await self._database.write(note)
        return False

    async def _note(self) -> bool:
        await self._database.write(self._database.store.erasing.note, clock.text(self._now))
        return False

    async def _erase_events(self) -> bool:
        return await self._database.write(self._walk.step, STEP)

    async def _erase_what_may_be(self) -> bool:
        """Erase rows of the outbox first: while the events have their content, a search that is cut off finds them again."""
        with suppress(TriggerFails):  # the last step raises it, when the database is done
            await self._erase_rows()
        return False

    async def _erase_rows(self) -> bool:
        store = self._database.store

        def erase(conn: Session, wait: float) -> int:
            with store.transaction(conn, wait):
                keys = [(event.project_id, event.event_id) for event in self._found.events]
                return store.erasing_outbox.erase_of_events(conn, keys) + store.erasing_outbox.erase_rows(
                    conn, self._found.rejected
                )

        self._rows += await self._database.write_outbox(erase)
        return False
