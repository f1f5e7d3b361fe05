"""What handlers work with: the settings, the two ways to the database, and who is asking."""

from __future__ import annotations

import copy
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from aiohttp import web

from ..actions import reach
from ..ops.keys import OperatorKeys
from ..ops.metrics import Metrics
from ..rules.principals import Principal
from ..settings.schema import Settings
from ..storage.engine import ActionStore, ReadingStore, Session, SessionRow, Worker
from .snapshots import Readers, SlowReads, Snapshot

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 5.0  # seconds that a write waits for another program's lock, its place in the line included
BRIEFLY = 0.5  # the same for what can as well be written later
ErrorPage = Callable[[web.Request, int, str], Awaitable[web.StreamResponse]]
AskAgain = Callable[[web.Request, SessionRow | None], Awaitable[web.StreamResponse]]


class Notes(Protocol):
    """What notes the changes of a request that has a key of its own."""

    @property
    def key_digest(self) -> str:
        """What tells it from the other requests of its caller."""

    def run(self, session: Session, function: Callable[[Session], T]) -> T:
        """Call a function in its transaction, and note there what it returns."""


@dataclass
class Context:
    """What the application is made of; `readers` are read-only connections, each on a thread of its own, and `slow_reader` is one more for what takes long.

    `reading` has what handlers read, `store` what actions read and write.
    `outbox_reader` is one of the outbox, where that is in a file of its own.
    """

    settings: Settings
    keys: OperatorKeys
    metrics: Metrics
    not_ready: Callable[[], str | None]
    share: Callable[[], str | None]
    reading: ReadingStore
    store: ActionStore
    database: Worker
    outbox: Worker
    readers: Sequence[Worker]
    slow_reader: Worker
    wake: Callable[[], Awaitable[None]]
    address: Callable[[], tuple[str, int] | None]
    prepare_pages: Callable[[], Awaitable[None]]
    outbox_reader: Worker | None = None
    error_page: ErrorPage | None = None
    ask_again: AskAgain | None = None
    keyed: Notes | None = None
    is_aside: bool = False
    _snapshot: Snapshot | None = None

    def __post_init__(self) -> None:
        """Make the readers ready to be lent."""
        self._lent = Readers(self.reading, self.readers)
        self._slow = SlowReads(self.slow_reader)

    def of_request(self) -> Context:
        """Return the context of one request, which has a snapshot of its own."""
        own = copy.copy(self)
        own._snapshot = Snapshot(self._lent)
        return own

    def without_key(self) -> Context:
        """Return a context whose writes are made anew each time that the request comes."""
        own = copy.copy(self)
        own.keyed = None
        return own

    def aside(self) -> Context:
        """Return a context for a write that may fail, and by which the delivery loop has nothing to do."""
        own = self.without_key()
        own.is_aside = True
        return own

    async def read(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of `reading` or `store` on the request's snapshot: all its reads see one state, until it writes."""
        assert self._snapshot is not None
        return await self._snapshot.read(function, *args, **kwargs)

    async def read_slowly(
        self, owner: str | None, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a part of a longer read on the connection for those, and hold no other meanwhile."""
        await self.end_reading()
        return await self._slow.read(owner, function, *args, **kwargs)

    async def belongs_to(self, owner: str | None) -> None:
        """Let the request be one of a project, or of the operator, whose requests take turns where they read."""
        if self._snapshot is not None:
            await self._snapshot.belongs_to(owner)

    async def end_reading(self) -> None:
        """Let go of the snapshot, before anything is waited for that others decide on; the next read begins another."""
        if self._snapshot is not None:
            await self._snapshot.end()

    async def read_outbox(
        self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that reads the outbox, on a read-only connection as well."""
        if self.outbox_reader is None:
            return await self.read(function, *args, **kwargs)
        return await self.outbox_reader.run(function, *args, **kwargs)

    async def write(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in one write transaction of the daemon's, and let the delivery loop look at once."""
        await self.end_reading()
        deadline, keyed = time.monotonic() + (BRIEFLY if self.is_aside else PATIENCE), self.keyed
        if keyed is None:
            result = await self.database.write_by(deadline, function, *args, **kwargs)
        else:
            change = partial(keyed.run, function=lambda session: function(session, *args, **kwargs))
            result = await self.database.write_by(deadline, change)
        if not self.is_aside:
            await self.wake()
        return result

    async def write_outbox(self, function: Callable[[Session, float], T], /) -> T:
        """Call a function with the outbox's connection and the seconds that it may wait for a lock; it writes as a whole."""
        await self.end_reading()
        deadline = time.monotonic() + PATIENCE
        return await self.outbox.run_in_turn(lambda conn: function(conn, max(0.0, deadline - time.monotonic())))


CONTEXT = web.AppKey("context", Context)
_OWN = web.RequestKey("context", Context)
# None: nobody has said yet who they are.
PRINCIPAL: web.RequestKey[Principal | None] = web.RequestKey("principal", object)  # type: ignore[arg-type]


def context(request: web.Request) -> Context:
    """Return the request's context; the application's, which reads nothing, before it has one."""
    return request.get(_OWN) or request.config_dict[CONTEXT]


@web.middleware
async def one_snapshot(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give the request a context of its own, and take its snapshot back in the end, whatever came of it."""
    own = request.config_dict[CONTEXT].of_request()
    request[_OWN] = own
    try:
        return await handler(request)
    finally:
        await own.end_reading()


def principal(request: web.Request) -> Principal:
    """Return who is asking; routes that are not open have somebody always."""
    caller = request[PRINCIPAL]
    assert caller is not None
    return caller


def scope(request: web.Request, project_id: str | None = None) -> str | None:
    """Return the project to look at: a project admin's own, else the one that was asked for (None: all).

    Raises `NotFound` for a project that is not theirs.
    """
    return reach.scope(principal(request), project_id)


def check_reach(request: web.Request, project_id: str, what: str) -> None:
    """Raise `NotFound` in the words of a thing that is not there, when it is another project's."""
    reach.check(principal(request), project_id, what)
