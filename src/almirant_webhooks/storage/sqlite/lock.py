"""The lock of a database, which one daemon at a time can hold. Its file says which keys that daemon has read."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ...model import Misconfigured, Refused
from ...ops import files

MODE = 0o640
PROBED = 0.05  # seconds for which others that look whether a daemon is there may have the lock


def file_of(database_path: Path) -> Path:
    """Return the path of the lock file, with links in the database's path followed."""
    return Path(f"{database_path.resolve()}.lock")


class Held:
    """The lock while it is held, by the file's descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._told: Sequence[str] | None = None

    def tell(self, key_ids: Sequence[str]) -> None:
        """Say which keys the daemon has read; without room for that the file says nothing of new ones."""
        if key_ids == self._told:
            return
        line = f"{' '.join(key_ids)}\n".encode()
        with suppress(OSError):
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))
            self._told = key_ids


@contextmanager
def hold(database_path: Path) -> Iterator[Held]:
    """Hold the lock while the block runs; raises `Refused` if another daemon holds it."""
    path = file_of(database_path)
    try:
        descriptor = _open(path)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from None
    with os.fdopen(descriptor):
        if not _take(descriptor):
            raise Refused(f"Another daemon runs on {database_path}; one database has one daemon.")
        os.ftruncate(descriptor, 0)
        yield Held(descriptor)


def _take(descriptor: int) -> bool:
    """Take the lock, also if a look at it (`is_held`) is in the way for a moment; tell whether it is taken."""
    until = time.monotonic() + PROBED
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(PROBED / 20)
        else:
            return True


def key_ids(database_path: Path) -> list[str]:
    """Return the ids of the keys that the daemon has read; none where there is no daemon, or it does not say."""
    with suppress(OSError):
        if is_held(database_path):
            return file_of(database_path).read_text(encoding="ascii").partition("\n")[0].split()
    return []


def _open(path: Path) -> int:
    """Open the lock file, which only its owner and group can read: everybody who can read it can hold the lock."""
    try:
        return files.create(path, MODE)
    except FileExistsError:
        descriptor = os.open(path, os.O_RDWR)
    status = os.fstat(descriptor)
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != MODE:
        os.fchmod(descriptor, MODE)
    return descriptor


def is_held(database_path: Path) -> bool:
    """Return whether a daemon runs on a database."""
    try:
        with file_of(database_path).open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
