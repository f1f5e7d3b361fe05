"""What one request reads is one state of the database, however many questions it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from ..storage.engine import ReadingStore, Session, Worker

P = ParamSpec("P")
T = TypeVar("T")


class Readers:
    """Read-only connections, each on a thread of its own and lent to one request at a time; first come, first served."""

    def __init__(self, reading: ReadingStore, workers: Sequence[Worker]) -> None:
        self.reading = reading
        self._free: asyncio.Queue[Worker] = asyncio.Queue()
        for worker in workers:
            self.give_back(worker)

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

    async def read(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads on the snapshot."""
        if self._held is not None:
            return await self._held.run(function, *args, **kwargs)
        self._held = await self._readers.borrow()

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
