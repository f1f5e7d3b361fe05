"""Threads for calls that block: a few from the start, and more while calls wait."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from ..model import NO_THREAD, Refused

T = TypeVar("T")


async def start_libuv_s() -> None:
    """Make uvloop start its thread for address lookups now, one instead of four. Raises `Refused` if it cannot.

    Otherwise libuv starts it at the first dial, and aborts the process if it cannot.
    """
    os.putenv("UV_THREADPOOL_SIZE", "1")
    probe = threading.Thread(target=threading.get_ident)
    try:
        probe.start()
    except RuntimeError as error:
        raise Refused(NO_THREAD.format(error=error)) from None
    probe.join()
    for _ in range(1000):  # a thread counts against the limit until the kernel has removed it
        if not _is_there(probe):
            break
        await asyncio.sleep(0.001)
    await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 0)


def _is_there(thread: threading.Thread) -> bool:
    return Path(f"/proc/self/task/{thread.native_id}").exists()


class Call(Generic[T]):
    """A call for a thread; `begun` once a thread has taken it."""

    def __init__(self, function: Callable[..., T], args: tuple[Any, ...]) -> None:
        self.begun = False
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._function = function
        self._args = args

    def run(self) -> None:
        """Make the call and pass its result to the event loop, unless it was cancelled. Call it in the thread."""
        if self.future.cancelled():
            return
        self.begun = True
        settle: Callable[[Any], None] = self._return
        try:
            outcome: Any = self._function(*self._args)
        except Exception as error:
            settle, outcome = self._raise, error
        with suppress(RuntimeError):
            self.future.get_loop().call_soon_threadsafe(settle, outcome)

    def _return(self, value: T) -> None:
        if not self.future.done():
            self.future.set_result(value)

    def _raise(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Threads:
    """Threads for which neither the event loop nor the end of the process waits, unlike those of an executor.

    The threads of `start` stay. If none of them is free, a call gets a thread of its own; if none can be started, it waits.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._staying = 0
        self._waiting = 0  # calls that no thread has taken, minus threads that wait for a call
        self._lock = threading.Lock()

    def start(self, count: int) -> None:
        """Start `count` threads. Raises `Refused` if they cannot be started."""
        for _ in range(count):
            try:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            except RuntimeError as error:
                raise Refused(NO_THREAD.format(error=error)) from None
            self._staying += 1

    def stop(self) -> None:
        """Let each thread end as soon as it is free, without waiting for that."""
        for _ in range(self._staying):
            self._calls.put(None)

    def call(self, function: Callable[..., T], *args: Any) -> Call[T]:
        """Call a function in a thread; return the call, with its future. Use it on the event loop."""
        call = Call(function, args)
        self._calls.put(call)
        with self._lock:
            self._waiting += 1
            is_alone = self._waiting > 0
        if is_alone:
            with suppress(RuntimeError):
                threading.Thread(target=self._run_until_idle, name=self._name, daemon=True).start()
        return call

    def _run(self) -> None:
        while True:
            with self._lock:
                self._waiting -= 1
            if (call := self._calls.get()) is None:
                return
            call.run()

    def _run_until_idle(self) -> None:
        """Make the waiting calls, then end."""
        while True:
            with self._lock:
                if self._waiting <= 0:
                    return
                self._waiting -= 1
            if (call := self._calls.get()) is not None:
                call.run()
