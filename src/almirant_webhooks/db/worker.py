"""A connection on aiosqlite's thread: a whole transaction is shipped there as one call."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from ..model import NO_THREAD, Refused
from .connection import transaction

P = ParamSpec("P")
T = TypeVar("T")


class FairLock:
    """A lock for writing a file: first come, first served.

    A plain one goes to the thread that runs, which is the one that has just let go of it.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # until it is handed over

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


class Worker:
    """One SQLite connection and the thread that alone uses it.

    Workers on one file share a `lock`: they wait for each other there, and not for the file's lock, which can only be asked
    for again and again.
    """

    def __init__(
        self,
        opener: Callable[[], sqlite3.Connection],
        observe: Callable[[float, float], None] | None = None,
        lock: FairLock | None = None,
    ) -> None:
        self._lock = lock or FairLock()
        self._observe = observe
        self._connection = aiosqlite.Connection(opener, iter_chunk_size=64)
        # A thread that hangs in a system call must not keep the process from exiting.
        self._connection._thread.daemon = True

    async def open(self) -> Worker:
        """Open the connection in its thread; raises what the opener raises, and `Refused` where no thread can be had."""
        try:
            await self._connection
        except BaseException as error:
            if self._connection._thread.ident is None:
                raise Refused(NO_THREAD.format(error=error)) from None
            # Its thread ends by calling the loop once more, which may be closed by then.
            self._connection._thread.join(1.0)
            raise
        return self

    @property
    def is_alive(self) -> bool:
        """Whether its thread is there to answer calls."""
        return self._connection._thread.is_alive()

    async def close(self) -> None:
        """Close the connection after the calls that were shipped before."""
        if self.is_alive:
            await self._connection.close()

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function with the connection in the thread. Cancelling the await does not stop it."""
        # aiosqlite's public calls are a hop for each statement; its private one takes any function (0.22).
        return await self._connection._execute(function, self._connection._conn, *args, **kwargs)  # type: ignore[no-any-return, no-untyped-call]

    async def write(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function in the thread, inside one write transaction of its own."""

        def whole(conn: sqlite3.Connection) -> T:
            with transaction(conn, observe=self._observe):
                return function(conn, *args, **kwargs)

        return await self.run_in_turn(whole)

    async def write_by(
        self,
        deadline: float,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Write, but wait for no other program's lock after a monotonic time: many hold up the thread no longer than one."""

        def whole(conn: sqlite3.Connection) -> T:
            with transaction(conn, max(0.0, deadline - time.monotonic()), self._observe):
                return function(conn, *args, **kwargs)

        return await self.run_in_turn(whole)

    async def run_in_turn(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that makes a write transaction of its own."""

        def whole(conn: sqlite3.Connection) -> T:
            with self._lock:
                return function(conn, *args, **kwargs)

        return await self.run(whole)
