"""Detects that a file was deleted or replaced, or that a thread has died: the daemon cannot work without them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from ..model import Misconfigured

EVERY = 2.0  # seconds between two checks


class Worker(Protocol):
    """An object with a thread of its own, which must live as long as the daemon."""

    @property
    def is_alive(self) -> bool:
        """Whether its thread is running."""


class Guard:
    """Checks that the files are still those that were opened, and that each worker's thread is running."""

    def __init__(self, files: Iterable[Path], workers: Sequence[Worker]) -> None:
        self._files = {path: _identity(path) for path in files}
        self._workers = workers

    async def run(self) -> None:
        """Check until something is gone. SQLite itself would go on writing to a deleted file.

        Raises `Misconfigured` for a file and `RuntimeError` for a thread.
        """
        while True:
            await asyncio.sleep(EVERY)
            for path, identity in self._files.items():
                if _identity(path) != identity:
                    raise Misconfigured(f"{path} was deleted or replaced meanwhile. Put it back and start again.")
            if not all(worker.is_alive for worker in self._workers):
                raise RuntimeError("the thread of a connection to the database has died")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
