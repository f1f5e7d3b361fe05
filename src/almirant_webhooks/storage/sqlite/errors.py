"""Turns SQLite's errors into an engine's. Inside `storage/sqlite` they stay `sqlite3.Error`; no other room sees those."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from ...model import Misconfigured, Refused
from ..engine import Busy, Damaged, Denied, Full, StorageError

Conn = TypeVar("Conn", bound=sqlite3.Connection)

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_NO_ACCESS = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


def primary_code(error: sqlite3.Error) -> int:
    """Return the primary result code of an error, 0 if it has none."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection's lock caused the error."""
    return primary_code(error) in _BUSY


def storage_error(error: sqlite3.Error) -> StorageError:
    """Return an error of SQLite as an engine's error, with its text and a sentence for people."""
    other = _storage_error(primary_code(error), str(error))
    other.__cause__ = error
    return other


def _storage_error(code: int, words: str) -> StorageError:
    if code in _DAMAGED:
        what = "is not an SQLite database" if code == sqlite3.SQLITE_NOTADB else "is damaged"
        return Damaged(words, f"{{what}} {what} ({words}). Restore it from a backup, or name another file.")
    if code == sqlite3.SQLITE_ERROR and words.startswith(("no such table", "no such column")):
        return Damaged(
            words,
            f"The tables of {{what}} are not those of this release ({words}). "
            "Restore it from a backup, or name another file.",
        )
    if code in _NO_ACCESS:
        return Denied(
            words,
            f"{{what}} cannot be opened for writing ({words}). "
            "Check the rights of the file, of its -wal and -shm, and of its directory.",
        )
    if code == sqlite3.SQLITE_FULL:
        return Full(words, "There is no room left on the disk of {what}. Nothing was changed; make room and try again.")
    if code in _BUSY:
        return Busy(words, "{what} is locked by another program. Nothing was changed; try again.")
    return StorageError(words)


def user_error(error: sqlite3.Error, path: object) -> Refused | Misconfigured:
    """Return an error with a sentence for people: `Misconfigured` if a restart cannot fix it, else `Refused`."""
    return storage_error(error).explained(path)


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn SQLite's errors in a block, or in a decorated function, into an engine's errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise storage_error(error) from error


@contextmanager
def session(conn: Conn) -> Iterator[Conn]:
    """Use a connection for the block, then close it. SQLite's errors become an engine's."""
    with engine_errors(), closing(conn):
        yield conn
