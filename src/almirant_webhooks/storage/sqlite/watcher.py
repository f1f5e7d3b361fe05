"""Detects commits of other connections: by inotify on the files, then a few checks of `PRAGMA data_version`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog
from asyncinotify import Inotify, Mask

from ..engine import StorageError

# A write is seen before its commit, so a check that finds nothing is repeated a little later (seconds). The later ones are for a
# producer whose disk takes long to sync; where writes go on they are not made.
CHECK_DELAYS = (0.0, 0.001, 0.003, 0.010, 0.030, 0.1, 0.2, 0.4)

REST = 0.003

log = structlog.get_logger("almirant_webhooks")


class Watcher:
    """Calls each of `checks` a few times when any process writes to one of the files, and once `every` seconds.

    It watches the directory, so that it also sees a new -wal and a file in rollback-journal mode. Each check has a task of
    its own.
    """

    def __init__(self, files: Sequence[Path], checks: Sequence[Callable[[], Awaitable[None]]], every: float) -> None:
        self._writes = {check: asyncio.Event() for check in checks}
        self._every = every
        self._names = {path.name + ending for path in files for ending in ("", "-wal", "-journal")}
        self._folders = {path.absolute().parent for path in files}

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="inotify")
            for check, was_written in self._writes.items():
                tasks.create_task(self._check_repeatedly(check, was_written), name="looks at data_version")

    async def _listen(self) -> None:
        with ExitStack() as opened:
            try:
                inotify = opened.enter_context(Inotify())
                for folder in self._folders:
                    inotify.add_watch(folder, Mask.MODIFY | Mask.CREATE | Mask.DELETE | Mask.MOVED_TO)
            except OSError as error:  # fs.inotify.max_user_instances, max_user_watches
                log.warning("commits are noticed late: inotify cannot be used", error=str(error), every=self._every)
                return
            self._note_write()  # what was committed before is looked at too
            async for event in inotify:
                if str(event.name) in self._names:
                    self._note_write()
                # Our own commits are seen too, as hundreds of writes; all writes that wait become one event.
                await asyncio.sleep(REST)

    def _note_write(self) -> None:
        for was_written in self._writes.values():
            was_written.set()

    async def _check_repeatedly(self, check: Callable[[], Awaitable[None]], was_written: asyncio.Event) -> None:
        while True:
            waits = CHECK_DELAYS if await _is_set_within(was_written, self._every) else CHECK_DELAYS[:1]
            was_written.clear()
            for wait in waits:
                if await _is_set_within(was_written, min(wait, self._every)):
                    break  # a later commit must not wait for the checks of an earlier one
                with suppress(StorageError):  # the delivery loop meets the same error, and logs it
                    await check()


async def _is_set_within(was_written: asyncio.Event, seconds: float) -> bool:
    if seconds and not was_written.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await was_written.wait()
    return was_written.is_set()
