"""The outbox in PostgreSQL as the delivery loop needs it: `storage.engine.OutboxStore`.

The delivery thread also records and claims in the database: it waits for PostgreSQL for a moment, and then goes on without it.
So a thread of the outbox's own talks to the server, and what it has found is taken when it is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Unfinished
from datetime import datetime
from typing import Any, TypeVar

from ... import clock
from ...rules.buckets import ALL
from ..engine import Busy, FanOut, Full, Lost, OutboxRow, ReadPlan, StorageError
from ..turns import next_rows
from . import marking, unread
from .connection import Session
from .errors import NoAnswer, ReadOnly, ServerAway
from .worker import Thread

T = TypeVar("T")

OPEN = 5.0  # seconds that a start waits for the server
PATIENCE = 0.25
SLOW = 2.0  # seconds after which it counts as away
CLOSE = 1.0


class OutboxInPostgres:
    """An outbox in a schema of an application's database; `connect` gives a session that is bound to our database.

    Rows are of projects whose buckets are `owned`. The delivery thread waits `patience` seconds for an answer.
    """

    is_in_database = False
    is_by_project = True
    tells_few = False

    def __init__(
        self,
        connect: Callable[[], Session],
        patience: float = PATIENCE,
        owned: Callable[[], Collection[int]] = lambda: ALL,
    ) -> None:
        self._thread = Thread(connect)
        self._owned = owned
        self._patience = patience
        self._unanswered: Future[Any] | None = None
        self._asked_at = 0.0  # monotonic seconds
        self._commits = 0

    def open(self) -> None:
        """Connect; raises `Misconfigured` or `Refused`. What passes by itself is left to the reads: all else can go on."""
        self._thread.start()
        try:
            self._thread.call(lambda session: None).result(OPEN)
        except (Lost, Full, Busy, ReadOnly, Unfinished):
            pass
        except StorageError as error:
            raise error.explained("the outbox") from error

    def close(self) -> None:
        """Close the connection."""
        self._thread.close(CLOSE)

    def has_free_space(self) -> bool:
        """Return True: a full disk of the server's is told by the error of a write."""
        return True

    def note_commit(self) -> None:
        """Note that a producer has committed; from any thread."""
        self._commits += 1

    def changes(self) -> int:
        """Return a number that is another one once a producer was noticed to have committed."""
        return self._commits

    def is_anything_unread(self, session: object, plan: ReadPlan) -> bool:
        """Tell that there may be: only a read knows."""
        return True

    def read(self, plan: ReadPlan) -> list[OutboxRow]:
        """Return rows that wait: projects take turns, and each one's oldest come first."""
        owned = self._owned()
        line = self._ask(lambda session: unread.line(session, plan, owned))
        ids = next_rows(line, plan)
        return self._ask(lambda session: unread.rows(session, ids)) if ids else []

    def mark(self, session: object, fan_outs: Sequence[FanOut], now: datetime) -> None:
        """Mark all rows of batches."""
        text = clock.text(now)
        for fan_out, marked in zip(fan_outs, self._ask(lambda own: marking.mark(own, fan_outs, text)), strict=True):
            marked.apply_to(fan_out)

    def _ask(self, function: Callable[[Session], T]) -> T:
        """Call a function in the outbox's thread and wait a moment for it.

        What comes later is dropped: a read or a mark that is made again finds what is there then.
        """
        if self._unanswered is not None and not self._unanswered.done():
            raise self._why_no_answer()
        self._asked_at = time.monotonic()
        future = self._thread.call(function)
        self._unanswered = future
        try:
            return future.result(self._patience)
        except Unfinished:
            raise self._why_no_answer() from None

    def _why_no_answer(self) -> StorageError:
        if not self._thread.is_connected:
            return ServerAway("PostgreSQL does not answer")
        if time.monotonic() < self._asked_at + SLOW:
            return Busy("PostgreSQL has not answered yet")
        return NoAnswer(f"PostgreSQL has not answered for {SLOW:g} s")
