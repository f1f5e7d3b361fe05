"""Reads a database that nobody has open, for a user who may not write beside it.

To read a database in WAL mode, SQLite creates a -shm beside it (https://www.sqlite.org/wal.html#readonly), which a
member of the service's group cannot do. While nobody writes, the file alone is the whole database. It is read as
immutable, and if it has changed meanwhile, the result is thrown away.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...model import Refused
from ...ops.sealing import Seals
from . import lock
from .connection import check_is_ours, connect
from .errors import user_error


def needed(path: Path) -> bool:
    """Return whether a database has to be read this way: nobody has it open, and this user cannot open it."""
    shared = Path(f"{path}-shm")
    try:
        cannot_make = not shared.exists() and not os.access(path.absolute().resolve().parent, os.W_OK)
    except OSError:
        return False
    return cannot_make and path.is_file() and not lock.is_held(path)


@contextmanager
def reading(path: Path, seals: Seals | None = None) -> Iterator[sqlite3.Connection]:
    """Open the database as immutable; raises `Refused` if it has changed, or is not complete without its -wal."""
    before = _state(path)
    if before[-1]:
        raise Refused(
            f"The last changes of {path} are in its -wal, which was left by a crash and which this user cannot read. "
            "Start the daemon (it goes on where it was), or run the command as root."
        )
    try:
        conn = connect(path, seals, read_only=True, immutable=True)
        try:
            check_is_ours(conn, path)
            yield conn
        finally:
            conn.close()
    except sqlite3.Error as error:
        if _state(path) == before:
            raise user_error(error, path) from None
    if _state(path) != before:
        raise Refused(f"{path} was written to while it was read; nothing is shown. Run the command again.")


def _state(path: Path) -> tuple[int, ...]:
    """Return values that change with every change of the file, and as the last the bytes of its -wal."""
    status, wal = path.stat(), Path(f"{path}-wal")
    return status.st_ino, status.st_size, status.st_mtime_ns, wal.stat().st_size if wal.exists() else 0
