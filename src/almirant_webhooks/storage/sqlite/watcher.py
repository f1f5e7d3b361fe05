"""Detects commits of other connections: by inotify on the files, then a few looks at `PRAGMA data_version`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog
from asyncinotify import Inotify, Mask

# A write is seen before its commit, so a look that finds nothing is repeated a little later (seconds). The later ones are for a
# producer whose disk takes long to sync; where writes go on they are not made.
LOOK_DELAYS = (0.0, 0.002, 0.010, 0.030, 0.1, 0.2, 0.4)

REST = 0.003

log = structlog.get_logger("almirant_webhooks")


class Watcher:
    """Calls `look` a few times when any process writes to one of the files, and once `every` seconds. All on the event loop.

    `look` returns at once, and is told whether it is the first after a write. The directory is watched, so that a new -wal and a
    file in rollback-journal mode are seen too.
    """

    def __init__(self, files: Sequence[Path], look: Callable[[bool], None], every: float) -> None:
        self._look = look
        self._every = every
        self._names = {path.name + ending for path in files for ending in ("", "-wal", "-journal")}
        self._folders = {path.absolute().parent for path in files}
        self._next: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(), name="inotify")
                tasks.create_task(self._poll(), name="looks at data_version")
        finally:
            if self._next is not None:
                self._next.cancel()

    async def _listen(self) -> None:
        with ExitStack() as opened:
            try:
                inotify = opened.enter_context(Inotify())
                for folder in self._folders:
                    inotify.add_watch(folder, Mask.MODIFY | Mask.CREATE | Mask.DELETE | Mask.MOVED_TO)
            except OSError as error:  # fs.inotify.max_user_instances, max_user_watches
                log.warning("commits are noticed late: inotify cannot be used", error=str(error), every=self._every)
                return
            self._look_again(0)  # what was committed before is looked at too
            async for event in inotify:
                if str(event.name) in self._names:
                    self._look_again(0)
                # Our own commits are seen too, as hundreds of writes; all writes that wait become one event.
                await asyncio.sleep(REST)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._look(False)

    def _look_again(self, place: int) -> None:
        """Look, for the first time after a write or later, and again after the next delay: a later write begins anew."""
        if self._next is not None:
            self._next.cancel()
        self._look(place == 0)
        if place + 1 < len(LOOK_DELAYS):
            wait = min(LOOK_DELAYS[place + 1], self._every)
            self._next = asyncio.get_running_loop().call_later(wait, self._look_again, place + 1)
