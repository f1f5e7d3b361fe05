"""What actions need of a database; the daemon has one for the API and the pages, and each command has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..storage.engine import ActionStore, Session

P = ParamSpec("P")
T = TypeVar("T")


class Writes(Protocol):
    """Writes as a face makes them."""

    @property
    def store(self) -> ActionStore:
        """The functions that read and write, of whichever engine it is."""

    async def write(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in one write transaction, and let the daemon look at once when it is committed."""


class Database(Writes, Protocol):
    """Reads and writes as a face makes them. Actions call it from the face's own thread."""

    async def read(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads; the reads up to the next write see one state."""

    async def read_slowly(
        self, owner: str | None, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that is a part of a longer read, each time on a state of its own, behind nobody's pages.

        `owner` is the project for which it is read, None for the operator: parts of one project follow each other.
        """

    async def write_outbox(self, function: Callable[[Session, float], T], /) -> T:
        """Call a function with the outbox's connection and the seconds that it may wait for a lock.

        It makes a write transaction of its own.
        """
