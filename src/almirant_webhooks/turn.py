"""A turn: a group on its way into the database. What follows from it is prepared while it is committed."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable

from .db.connection import transaction
from .db.group import Group, Written
from .model import Claim


class Stale(Exception):
    """A group that was chosen as if the one before it were in the database, which it is not."""


class Commit:
    """What the attempts of a group wait for; they hold nothing else of it, however long they take."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.at = 0.0  # monotonic seconds

    def tell(self) -> None:
        """Let the attempts go: from now on a crash knows of them."""
        self.at = time.monotonic()
        self.done.set()


class Turn:
    """One transaction: `written` comes before its commit, with None if it failed until then, and `commit` after it.

    `before` is the turn that was not committed yet when this one was chosen.
    """

    def __init__(self, group: Group, write: Callable[[sqlite3.Connection], Written], before: Turn | None) -> None:
        self.group = group
        self.attempts: list[tuple[Claim, asyncio.Task[None]]] = []
        self.commit = Commit()
        self._loop = asyncio.get_running_loop()
        self.written: asyncio.Future[Written | None] = self._loop.create_future()
        self._write = write
        self._before = before
        self._is_committed = False

    def work(self, conn: sqlite3.Connection, observe: Callable[[float, float], None]) -> Written:
        """Write the group, tell the loop, and commit; in the database's thread. Raises `Stale` after a turn that failed."""
        before, self._before = self._before, None
        with transaction(conn, observe=observe):
            if before is not None and not before._is_committed:
                raise Stale
            written = self._write(conn)
            self._loop.call_soon_threadsafe(self.tell, written)
        self._is_committed = True
        return written

    def tell(self, written: Written | None) -> None:
        """Let go whoever waits for it to be written."""
        if not self.written.done():
            self.written.set_result(written)
