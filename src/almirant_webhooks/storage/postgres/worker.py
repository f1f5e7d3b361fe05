"""A connection to PostgreSQL with a thread of its own, in which each transaction is one call; it connects again by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from ...model import NO_THREAD, Refused
from .. import worker
from ..engine import StorageError
from .connection import Session, transaction
from .errors import as_engines

T = TypeVar("T")
Call = tuple[Future[Any], Callable[[Session], Any]]

RETRY = 0.5  # seconds after an attempt to connect that failed, within which calls fail by its error at once


class Connector:
    """Connects for the first call, and again after the connection was lost; for one thread.

    While connecting fails, calls fail by its error.
    """

    def __init__(self, connect: Callable[[], Session]) -> None:
        self.session: Session | None = None
        self._connect = connect
        self._failed: tuple[float, Exception] | None = None  # monotonic seconds, and why it could not connect

    def call(self, function: Callable[[Session], T]) -> T:
        """Call a function with the session."""
        try:
            return function(self._opened())
        finally:
            if self.session is not None and self.session.is_lost:
                self.session = None

    def _opened(self) -> Session:
        if self.session is None:
            if self._failed is not None and time.monotonic() < self._failed[0] + RETRY:
                raise self._failed[1]
            try:
                self.session = self._connect()
                self._failed = None
            except StorageError as error:
                self._failed = time.monotonic(), error
                raise
        return self.session

    def close(self) -> None:
        """Close the session, if there is one."""
        if self.session is not None:
            self.session.close()
            self.session = None


class Thread:
    """A session and the only thread that uses it. It calls functions there one after the other, for whichever thread asks."""

    def __init__(self, connect: Callable[[], Session]) -> None:
        self._connector = Connector(connect)
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="postgres")

    def start(self) -> None:
        """Start the thread; raises `Refused` if none can be started."""
        try:
            self._thread.start()
        except RuntimeError as error:
            raise Refused(NO_THREAD.format(error=error)) from None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known here."""
        return self._connector.session is not None

    def call(self, function: Callable[[Session], T]) -> Future[T]:
        """Have a function called in the thread; return its future, which raises `StorageError` for the driver's errors."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # who waits may go away; the function is called all the same
        self._calls.put((future, function))
        return future

    def close(self, within: float) -> None:
        """Let the thread end after the calls that were handed over, and wait so many seconds for that at most."""
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join(within)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            try:
                future.set_result(self._connector.call(function))
            except BaseException as error:
                future.set_exception(as_engines(error))
            del call, future, function
        self._connector.close()


class Worker(worker.Worker):
    """`storage.worker.Worker` that connects with its first call, and again after its connection was lost."""

    def __init__(self, connect: Callable[[], Session]) -> None:
        super().__init__(lambda: Connector(connect), transaction, as_engines)

    def call(self, function: Callable[[Session], T]) -> asyncio.Future[T]:
        """Call a function in the thread without waiting for it; return its future."""

        def connected(connector: Connector) -> T:
            return connector.call(function)

        return super().call(connected)
