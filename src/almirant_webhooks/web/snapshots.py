"""What one request reads is one state of the database, however many questions it asks."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from ..db.connection import begin_reading, end_reading
from ..db.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")


class Readers:
    """Read-only connections, each on a thread of its own and lent to one request at a time."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._readers = [(worker, asyncio.Lock()) for worker in workers]
        self._turn = itertools.count()

    async def borrow(self) -> tuple[Worker, asyncio.Lock]:
        """Wait for a connection, a free one first; its lock is held until it is given back."""
        at = next(self._turn) % len(self._readers)
        in_turn = self._readers[at:] + self._readers[:at]
        worker, lock = min(in_turn, key=lambda reader: reader[1].locked())
        await lock.acquire()
        return worker, lock


class Snapshot:
    """The state of the database as of a request's first read, until it is ended; the next read begins a new one.

    It holds a connection: end it before anything is waited for that others decide on, as a body that comes slowly.
    """

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._held: tuple[Worker, asyncio.Lock] | None = None

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function of `db` on the snapshot."""
        if self._held is not None:
            return await self._held[0].run(function, *args, **kwargs)
        self._held = await self._readers.borrow()

        def first(conn: sqlite3.Connection) -> T:
            begin_reading(conn)
            return function(conn, *args, **kwargs)

        return await self._held[0].run(first)

    async def end(self) -> None:
        """Give the connection back."""
        if self._held is None:
            return
        (worker, lock), self._held = self._held, None
        try:
            await worker.run(end_reading)
        finally:
            lock.release()
