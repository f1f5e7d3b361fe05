"""What is done once, whatever the number of daemons: by the one that owns the first bucket, which is taken over with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..engine import StorageError
from ..worker import Worker

P = ParamSpec("P")
T = TypeVar("T")
BUCKET = 0


class DoneElsewhere(StorageError):
    """Another daemon does it now."""

    why = "another daemon does this"


class Once:
    """A worker whose writes are refused unless this daemon is the one that makes them: `storage.engine.Worker`.

    `is_ours` tells so, in the transaction of a write and in the worker's thread.
    """

    def __init__(self, worker: Worker, is_ours: Callable[[Any], bool]) -> None:
        self._worker = worker
        self._is_ours = is_ours

    @property
    def is_alive(self) -> bool:
        """Whether its thread is there to answer calls."""
        return self._worker.is_alive

    async def run(self, function: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads, or that makes transactions of its own."""
        return await self._worker.run(function, *args, **kwargs)

    def call(self, function: Callable[[Any], T]) -> asyncio.Future[T]:
        """Have a function called, and do not wait for it."""
        return self._worker.call(function)

    async def write(self, function: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in one write transaction. Raises `DoneElsewhere`."""
        return await self._worker.write(self._checked(function), *args, **kwargs)

    async def write_by(
        self, deadline: float, function: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write, but wait for no other program's lock after a monotonic time. Raises `DoneElsewhere`."""
        return await self._worker.write_by(deadline, self._checked(function), *args, **kwargs)

    async def run_in_turn(self, function: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that makes a write transaction of its own."""
        return await self._worker.run_in_turn(function, *args, **kwargs)

    def _checked(self, function: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
        def checked(session: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if not self._is_ours(session):
                raise DoneElsewhere("it owns the first bucket")
            return function(session, *args, **kwargs)

        return checked
