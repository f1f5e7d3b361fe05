"""Noticing that another process has committed: inotify on the files, then a few looks at `PRAGMA data_version`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from asyncinotify import Inotify, Mask

# The write is seen before its commit is, so a look that finds nothing is repeated a little later (seconds).
LOOKS = (0.0, 0.001, 0.003, 0.010, 0.030)

REST = 0.003


class Watcher:
    """Calls `look` a few times whenever one of the files is written to, by whichever process.

    The directory is watched, so that a -wal that is made anew and a file in rollback-journal mode are noticed too.
    """

    def __init__(self, files: Sequence[Path], look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._names = {path.name + ending for path in files for ending in ("", "-wal", "-journal")}
        self._folders = {path.absolute().parent for path in files}
        self._written = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="inotify")
            tasks.create_task(self._look_around(), name="looks at data_version")

    async def _listen(self) -> None:
        with Inotify() as inotify:
            for folder in self._folders:
                inotify.add_watch(folder, Mask.MODIFY | Mask.CREATE | Mask.DELETE | Mask.MOVED_TO)
            async for event in inotify:
                if str(event.name) in self._names:
                    self._written.set()
                # Our own commits are seen too, in hundreds of writes; those that wait meanwhile become one event.
                await asyncio.sleep(REST)

    async def _look_around(self) -> None:
        while True:
            await self._written.wait()
            self._written.clear()
            for wait in LOOKS:
                if await self._is_written_within(wait):
                    break  # a later commit must not wait until the looks for an earlier one are over
                await self._look()

    async def _is_written_within(self, seconds: float) -> bool:
        if seconds and not self._written.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._written.wait()
        return self._written.is_set()
