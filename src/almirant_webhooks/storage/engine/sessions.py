"""Connections, each used by one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# An engine's own connection. Whoever is given one hands it to the engine's functions, and asks nothing else of it.
Session: TypeAlias = Any


class Worker(Protocol):
    """A session and the thread that alone uses it: functions are called there one after the other, from the event loop.

    What a function raises is raised where it is waited for, `StorageError` included. Cancelling the wait does not stop it.
    """

    @property
    def is_alive(self) -> bool:
        """Whether its thread is there to answer calls."""

    async def run(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads, or that makes transactions of its own."""

    def call(self, function: Callable[[Session], T]) -> asyncio.Future[T]:
        """Have a function called, and do not wait for it."""

    async def write(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in one write transaction, which changes nothing when this raises."""

    async def write_by(
        self, deadline: float, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write, but wait for no other program's lock after a monotonic time."""

    async def run_in_turn(
        self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that makes a write transaction of its own, in turn with other writers of this process."""


class DeliveryWorker(Worker, Protocol):
    """The worker of the database, whose thread runs the delivery loop between the calls of others."""

    def take_steps(self, step: Callable[[Session], float], died: Callable[[Exception], None]) -> None:
        """Have `step` called whenever no function waits; it returns after how many seconds it wants to be called again.

        `died` is told on the event loop what it raised, and it is not called again.
        """

    async def end_steps(self) -> None:
        """Have the step called no more: none is under way once this returns."""

    def wake(self) -> None:
        """Have the step called now, from whichever thread."""
