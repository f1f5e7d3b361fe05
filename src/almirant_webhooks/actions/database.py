"""What actions need of a database; the daemon has one for the API and the pages, and each command has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..storage.engine import ActionStore, Session

P = ParamSpec("P")
T = TypeVar("T")


class Database(Protocol):
    """Reads and writes as a face makes them. Actions call it from the face's own thread."""

    @property
    def store(self) -> ActionStore:
        """The functions that read and write, of whichever engine it is."""

    async def read(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads; the reads up to the next write see one state."""

    async def write(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in one write transaction, and let the daemon look at once when it is committed."""

    async def write_outbox(self, function: Callable[[Session, float], T], /) -> T:
        """Call a function with the outbox's connection and the seconds that it may wait for a lock.

        It makes a write transaction of its own.
        """
