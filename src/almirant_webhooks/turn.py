"""A turn: a group on its way into the database. What follows from it is prepared while it is committed."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable

from .db.group import Group, Written
from .model import Claim


class Turn:
    """One transaction: `written` comes before its commit, with None if it failed until then, and `committed` after it."""

    def __init__(self, group: Group, write: Callable[[sqlite3.Connection, Group], Written]) -> None:
        self.group = group
        self.attempts: list[tuple[Claim, asyncio.Task[None]]] = []
        self.committed = asyncio.Event()
        self.committed_at = 0.0  # monotonic seconds
        self._loop = asyncio.get_running_loop()
        self.written: asyncio.Future[Written | None] = self._loop.create_future()
        self._write = write

    def work(self, conn: sqlite3.Connection) -> Written:
        """Write the group, and tell the loop; in the database's thread, inside the transaction."""
        written = self._write(conn, self.group)
        self._loop.call_soon_threadsafe(self.tell, written)
        return written

    def tell(self, written: Written | None) -> None:
        """Let go whoever waits for it to be written."""
        if not self.written.done():
            self.written.set_result(written)

    def commit(self) -> None:
        """Let its attempts go: from now on a crash knows of them."""
        self.committed_at = time.monotonic()
        self.committed.set()
