"""What handlers work with: the settings, the two ways to the database, and who is asking."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar

from aiohttp import web

from ..access import Principal
from ..db import outbox
from ..db.worker import Worker
from ..keys import Keys
from ..metrics import Metrics
from ..model import NotFound
from ..settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 5.0  # seconds that a write waits for another program's lock, its place in the line included
ErrorPage = Callable[[web.Request, int, str], Awaitable[web.StreamResponse]]


@dataclass
class Context:
    """What the application is made of; `readers` are read-only connections, each on a thread of its own."""

    settings: Settings
    keys: Keys
    metrics: Metrics
    not_ready: Callable[[], str | None]
    database: Worker
    outbox: Worker
    readers: Sequence[Worker]
    wake: Callable[[], Awaitable[None]]
    address: Callable[[], tuple[str, int] | None]
    error_page: ErrorPage | None = None
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function of `db` on a read-only connection; a slow one keeps half of the readers free."""
        return await self.readers[next(self._turn) % len(self.readers)].run(function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function of `db` in one write transaction of the daemon's, and let the dispatcher look at once."""
        result = await self.database.write_by(time.monotonic() + PATIENCE, function, *args, **kwargs)
        await self.wake()
        return result

    async def insert(self, *, project_id: str, event_type: str, payload: str, event_id: str | None) -> str:
        """Insert an event into the outbox as a producer does; return its id once it is committed."""
        deadline = time.monotonic() + PATIENCE

        def insert(conn: sqlite3.Connection) -> str:
            wait = max(0.0, deadline - time.monotonic())
            return outbox.insert(
                conn, project_id=project_id, event_type=event_type, payload=payload, event_id=event_id, wait=wait
            )

        return await self.outbox.run_in_turn(insert)


CONTEXT = web.AppKey("context", Context)
# None: nobody has said yet who they are.
PRINCIPAL: web.RequestKey[Principal | None] = web.RequestKey("principal", object)  # type: ignore[arg-type]


def context(request: web.Request) -> Context:
    """Return the application's context."""
    return request.config_dict[CONTEXT]


def principal(request: web.Request) -> Principal:
    """Return who is asking; routes that are not open have somebody always."""
    found = request[PRINCIPAL]
    assert found is not None
    return found


def scope(request: web.Request, project_id: str | None = None) -> str | None:
    """Return the project to look at: a project admin's own, else the one that was asked for (None: all).

    Raises `NotFound` for a project that is not theirs.
    """
    who = principal(request)
    if project_id is not None and not who.reaches(project_id):
        raise NotFound(f"There is no project {project_id}.", "project")
    return who.project_id or project_id


def check_reach(request: web.Request, project_id: str, what: str) -> None:
    """Raise `NotFound` in the words of a thing that is not there, when it is another project's."""
    if not principal(request).reaches(project_id):
        raise NotFound(f"There is no {what}.", "id")
