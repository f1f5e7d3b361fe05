"""A session with a thread of its own, in which each transaction is one call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from ..model import NO_THREAD, Refused
from .engine import Session

P = ParamSpec("P")
T = TypeVar("T")
WAIT = 5.0  # seconds that a write waits for others
Call = tuple[asyncio.Future[Any], Callable[[Session], Any]]


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
    """A session and the only thread that uses it. It calls functions there one after the other.

    What differs between engines is how a session is opened, what a write transaction is (of a session, waiting so many
    seconds for others), and what an error is as an engine's. Workers that write to the same place share a `lock` and wait
    for each other there.
    """

    def __init__(
        self,
        opener: Callable[[], Session],
        transaction: Callable[[Session, float], AbstractContextManager[object]],
        as_engines: Callable[[BaseException], BaseException],
        lock: FairLock | None = None,
    ) -> None:
        self.lock = lock or FairLock()
        self._opener = opener
        self._transaction = transaction
        self._as_engines = as_engines
        self._step: Callable[[Session], float] | None = None
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._closing = False

    async def open(self) -> Self:
        """Open the connection in its thread; raises what the opener raises, and `Refused` if no thread can be started."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        opened: asyncio.Future[None] = self._loop.create_future()
        # A thread that hangs in a system call must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, args=(opened,), daemon=True, name="database")
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
            self._calls.put(None)
            await self._ended

    def take_steps(self, step: Callable[[Session], float], died: Callable[[Exception], None]) -> None:
        """Call `step` in the thread whenever no call waits; it returns the seconds until its next call.

        If it raises, `died` is called with the error on the event loop, and the steps end.
        """

        def begin(_: Session) -> None:
            self._step, self._died = step, died

        self.call(begin)

    async def end_steps(self) -> None:
        """Stop calling the step; none is under way once this returns."""

        def end(_: Session) -> None:
            self._step = None

        await self.run(end)

    def wake(self) -> None:
        """Call the step now; from any thread."""
        self._calls.put(None)

    async def run(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function with the connection in the thread. Cancelling the await does not stop it.

        Its errors are raised here, a driver's as an engine's.
        """
        return await self.call(lambda conn: function(conn, *args, **kwargs))

    def call(self, function: Callable[[Session], T]) -> asyncio.Future[T]:
        """Call a function in the thread without waiting for it; return its future. A step follows, so this wakes the loop too."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((future, function))
        return future

    async def write(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the thread, inside one write transaction of its own."""

        def whole(conn: Session) -> T:
            with self._transaction(conn, WAIT):
                return function(conn, *args, **kwargs)

        return await self.run_in_turn(whole)

    async def write_by(
        self,
        deadline: float,
        function: Callable[Concatenate[Session, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Write, but wait for another program's lock until `deadline` (monotonic seconds) at most: many wait no longer than one."""

        def whole(conn: Session) -> T:
            with self._transaction(conn, max(0.0, deadline - time.monotonic())):
                return function(conn, *args, **kwargs)

        return await self.run_in_turn(whole)

    async def run_in_turn(
        self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that makes a write transaction of its own."""

        def whole(conn: Session) -> T:
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

    def _serve(self, conn: Session) -> None:
        while not self._closing:
            rest = self._take_step(conn)
            try:
                self._call(conn, self._calls.get(block=rest is None or rest > 0, timeout=rest))
            except Empty:
                continue
            self._call_all(conn)
        self._call_all(conn)

    def _take_step(self, conn: Session) -> float | None:
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

    def _call_all(self, conn: Session) -> None:
        """Make the waiting calls."""
        with suppress(Empty):
            while True:
                self._call(conn, self._calls.get_nowait())

    def _call(self, conn: Session, call: Call | None) -> None:
        if call is None:
            return
        future, function = call
        try:
            value, error = function(conn), None
        except BaseException as raised:
            value, error = None, raised
        self._tell(future, value, error)

    def _tell(self, future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
        if error is not None:
            error = self._as_engines(error)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_settle, future, value, error)


def _settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    if future.done():  # nobody waits any more
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
