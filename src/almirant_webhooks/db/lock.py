"""The lock that one daemon has on one database."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..model import Misconfigured, Refused


def file_of(database_path: Path) -> Path:
    """Return the lock's file, which is one whatever link the database was named by."""
    return Path(f"{database_path.resolve()}.lock")


@contextmanager
def hold(database_path: Path) -> Iterator[None]:
    """Hold the lock while the block runs; raises `Refused` when another daemon has it."""
    path = file_of(database_path)
    try:
        file: IO[str] = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(f"Another daemon runs on {database_path}; one database has one daemon.") from None
        yield


def is_held(database_path: Path) -> bool:
    """Tell whether a daemon runs on a database."""
    try:
        with file_of(database_path).open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
