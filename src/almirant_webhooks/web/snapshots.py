"""What one request reads is one state of the database, however many questions it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from ..storage.engine import ReadingStore, Session, Worker

P = ParamSpec("P")
T = TypeVar("T")


class Turn:
    """What the requests of one project take turns by."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._asked = 0

    @property
    def is_free(self) -> bool:
        """Whether nobody has it, or waits for it."""
        return not self._asked

    async def take(self) -> None:
        """Wait for one's turn."""
        self._asked += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._asked -= 1
            raise

    def give_back(self) -> None:
        """Let the next have its turn."""
        self._asked -= 1
        self._lock.release()


class Readers:
    """Read-only connections, each on a thread of its own and lent to one request at a time; first come, first served.

    The requests of a project have one at a time, so that its searches and counts leave the others to other projects.
    """

    def __init__(self, reading: ReadingStore, workers: Sequence[Worker]) -> None:
        self.reading = reading
        self._free: asyncio.Queue[Worker] = asyncio.Queue()
        self._turns: WeakValueDictionary[str | None, Turn] = WeakValueDictionary()
        for worker in workers:
            self.give_back(worker)

    def turn_of(self, owner: str | None) -> Turn:
        """Return what the requests of an owner take turns by."""
        return self._turns.setdefault(owner, Turn())

    async def borrow(self) -> Worker:
        """Wait for a connection that is free."""
        return await self._free.get()

    def give_back(self, worker: Worker) -> None:
        """Let the next have it."""
        self._free.put_nowait(worker)


class SlowReads:
    """A connection for reads that take long, so that they keep none from those of the pages.

    They are made in short parts. Those of all projects take turns, and of one project one part waits at a time, however many
    requests it has made.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._turns: WeakValueDictionary[str | None, asyncio.Lock] = WeakValueDictionary()

    async def read(
        self, owner: str | None, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that reads, once it is the turn of its owner."""
        turn = self._turns.setdefault(owner, asyncio.Lock())
        async with turn:
            return await self._worker.run(function, *args, **kwargs)


class Snapshot:
    """The state of the database as of a request's first read, until it is ended; the next read begins a new one.

    It holds a connection: end it before anything is waited for that others decide on, as a body that comes slowly.
    """

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._held: Worker | None = None
        self._turn: Turn | None = None
        self._is_in_turn = False

    async def belongs_to(self, owner: str | None) -> None:
        """Be one of those of a project from now on; until then nobody knew whose it is."""
        self._turn = self._readers.turn_of(owner)
        if self._held is not None and not self._turn.is_free:
            await self.end()  # others of its own are before it: it holds nothing meanwhile
        elif self._held is not None:
            await self._take_turn()

    async def _take_turn(self) -> None:
        if self._turn is not None and not self._is_in_turn:
            await self._turn.take()
            self._is_in_turn = True

    def _end_turn(self) -> None:
        if self._turn is not None and self._is_in_turn:
            self._is_in_turn = False
            self._turn.give_back()

    async def read(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads on the snapshot."""
        if self._held is not None:
            return await self._held.run(function, *args, **kwargs)
        await self._take_turn()
        try:
            self._held = await self._readers.borrow()
        except BaseException:
            self._end_turn()
            raise

        def first(session: Session) -> T:
            self._readers.reading.begin(session)
            return function(session, *args, **kwargs)

        return await self._held.run(first)

    async def end(self) -> None:
        """Give the connection back."""
        if self._held is None:
            return
        worker, self._held = self._held, None
        try:
            await worker.run(self._readers.reading.end)
        finally:
            self._readers.give_back(worker)
            self._end_turn()
