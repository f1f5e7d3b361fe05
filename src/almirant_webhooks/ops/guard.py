"""Notices that a file was deleted or replaced, or that a thread has died: the daemon cannot work without them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from ..model import Misconfigured

EVERY = 2.0  # seconds between two looks


class Worker(Protocol):
    """What has a thread of its own that must not end before the daemon."""

    @property
    def is_alive(self) -> bool:
        """Whether its thread is there."""


class Guard:
    """Looks whether the files are still the ones that were opened, and whether each worker's thread is there."""

    def __init__(self, files: Iterable[Path], workers: Sequence[Worker]) -> None:
        self._files = {path: _identity(path) for path in files}
        self._workers = workers

    async def run(self) -> None:
        """Check until something is gone: SQLite itself would go on writing into a deleted file."""
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
