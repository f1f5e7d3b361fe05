"""A connection to an SQLite file with a thread of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager

from .. import worker
from ..worker import FairLock
from .connection import Connection, transaction
from .errors import storage_error

__all__ = ["FairLock", "Worker"]


class Worker(worker.Worker):
    """An SQLite connection and the only thread that uses it: `storage.worker.Worker`.

    Workers on one file share a `lock`, as the file's own can only be polled. `observe` as in `transaction`.
    """

    def __init__(
        self,
        opener: Callable[[], Connection],
        observe: Callable[[float, float], None] | None = None,
        lock: FairLock | None = None,
    ) -> None:
        def begin(conn: Connection, wait: float) -> AbstractContextManager[object]:
            return transaction(conn, wait, observe)

        super().__init__(opener, begin, as_engines, lock)


def as_engines(error: BaseException) -> BaseException:
    """Return an error of SQLite as an engine's error, and any other as it is."""
    return storage_error(error) if isinstance(error, sqlite3.Error) else error
