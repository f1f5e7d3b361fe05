"""The daemon's tasks: if one of them ends too early, the daemon ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from ..model import Misconfigured, Refused

log = structlog.get_logger("almirant_webhooks")


class Tasks:
    """Runs named tasks. `ended` is called when the first of them ends by itself, before that is logged."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self.fault: BaseException | None = None
        self.dead: str | None = None  # the name of the task that ended first
        self._ended = ended
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a task."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        task.add_done_callback(self._one_ended)

    def why_not_ready(self) -> str | None:
        """Return a sentence on the task that ended too early, or None."""
        return f"the task {self.dead!r} has died" if self.dead else None

    def stop(self) -> None:
        """Allow tasks to end from now on."""
        self._stopping = True

    async def cancel(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def died(self, name: str, error: BaseException) -> None:
        """Note that a part of the daemon has died of an error, and log it unless its sentence is shown at the end."""
        if self.dead is None:
            self.dead, self.fault = name, error
            self._ended()
        if not isinstance(error, (Misconfigured, Refused)):
            log.error("task died", task=name, exc_info=error)

    def _one_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._stopping and error is None:
            return
        words = "it was cancelled" if task.cancelled() else "it ended by itself"
        self.died(task.get_name(), error or RuntimeError(words))
