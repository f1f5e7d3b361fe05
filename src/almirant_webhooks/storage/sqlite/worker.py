"""A connection with a thread of its own, in which each transaction is one call."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar

from ...model import NO_THREAD, Refused
from .connection import transaction
from .errors import storage_error

P = ParamSpec("P")
T = TypeVar("T")
Job = tuple[asyncio.Future[Any], Callable[[sqlite3.Connection], Any]]


class FairLock:
    """A lock for writing a file: first come, first served.

    A plain lock goes to the running thread, which has just released it.
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
        mine.acquire()  # waits until the lock is handed over

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


class Worker:
    """An SQLite connection and the only thread that uses it. It calls functions there one after the other.

    Workers on one file share a `lock` and wait for each other there, instead of at the file's lock, which can only be
    polled.
    """

    def __init__(
        self,
        opener: Callable[[], sqlite3.Connection],
        observe: Callable[[float, float], None] | None = None,
        lock: FairLock | None = None,
    ) -> None:
        self.lock = lock or FairLock()
        self._opener = opener
        self._observe = observe
        self._step: Callable[[sqlite3.Connection], float] | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._closing = False

    async def open(self) -> Worker:
        """Open the connection in its thread; raises what the opener raises, and `Refused` if no thread can be started."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        opened: asyncio.Future[None] = self._loop.create_future()
        # A thread that hangs in a system call must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, args=(opened,), daemon=True, name="sqlite")
        try:
            self._thread.start()
        except RuntimeError as error:
            raise Refused(NO_THREAD.format(error=error)) from None
        await opened
        return self

    @property
    def is_alive(self) -> bool:
        """Whether its thread is running."""
        return self._thread.is_alive()

    async def close(self) -> None:
        """Close the connection after the calls that were handed over before."""
        if self.is_alive:
            self._closing = True
            self._jobs.put(None)
            await self._ended

    def take_steps(self, step: Callable[[sqlite3.Connection], float], died: Callable[[Exception], None]) -> None:
        """Call `step` in the thread whenever no call waits; it returns the seconds until its next call.

        If it raises, `died` is called with the error on the event loop, and the steps end.
        """

        def begin(_: sqlite3.Connection) -> None:
            self._step, self._died = step, died

        self.call(begin)

    async def end_steps(self) -> None:
        """Stop calling the step; none is under way once this returns."""

        def end(_: sqlite3.Connection) -> None:
            self._step = None

        await self.run(end)

    def wake(self) -> None:
        """Call the step now; from any thread."""
        self._jobs.put(None)

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function with the connection in the thread. Cancelling the await does not stop it.

        Its errors are raised here, SQLite's as an engine's.
        """
        return await self.call(lambda conn: function(conn, *args, **kwargs))

    def call(self, function: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Call a function in the thread without waiting for it; return its future."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((future, function))
        return future

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
        """Write, but wait for another program's lock until `deadline` (monotonic seconds) at most: many wait no longer than one."""

        def whole(conn: sqlite3.Connection) -> T:
            with transaction(conn, max(0.0, deadline - time.monotonic()), self._observe):
                return function(conn, *args, **kwargs)

        return await self.run_in_turn(whole)

    async def run_in_turn(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that makes a write transaction of its own."""

        def whole(conn: sqlite3.Connection) -> T:
            with self.lock:
                return function(conn, *args, **kwargs)

        return await self.run(whole)

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            conn = self._opener()
        except BaseException as error:
            self._tell(opened, None, error)
            return
        self._tell(opened, None, None)
        try:
            self._serve(conn)
        finally:
            conn.close()
            self._tell(self._ended, None, None)

    def _serve(self, conn: sqlite3.Connection) -> None:
        while not self._closing:
            rest = self._take_step(conn)
            try:
                self._call(conn, self._jobs.get(block=rest is None or rest > 0, timeout=rest))
            except Empty:
                continue
            self._call_all(conn)
        self._call_all(conn)

    def _take_step(self, conn: sqlite3.Connection) -> float | None:
        """Return the seconds until the next step, or None to wait for a call."""
        if self._step is None:
            return None
        try:
            return self._step(conn)
        except Exception as error:
            self._step = None
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._died, error)
            return None

    def _call_all(self, conn: sqlite3.Connection) -> None:
        """Make the waiting calls."""
        with suppress(Empty):
            while True:
                self._call(conn, self._jobs.get_nowait())

    def _call(self, conn: sqlite3.Connection, job: Job | None) -> None:
        if job is None:
            return
        future, function = job
        try:
            value, error = function(conn), None
        except BaseException as raised:
            value, error = None, raised
        self._tell(future, value, error)

    def _tell(self, future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
        if isinstance(error, sqlite3.Error):
            error = storage_error(error)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_settle, future, value, error)


def _settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    if future.done():  # nobody waits any more
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
