"""Trouble with the database, step by step: said once when it begins and once when it is over."""

from __future__ import annotations

import asyncio
import sqlite3

import structlog

from .metrics import Metrics

PAUSE = 0.5  # seconds after a failed transaction

log = structlog.get_logger("almirant_webhooks")


class Troubles:
    """Which steps cannot be taken at the moment, and why."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._now: dict[str, str] = {}

    def __contains__(self, step: str) -> bool:
        return step in self._now

    def why(self, step: str) -> str | None:
        """Return the words of what is wrong with a step, or None."""
        return self._now.get(step)

    async def meet(self, step: str, error: sqlite3.Error) -> None:
        """Take note that a step failed, and rest a little before it is tried again."""
        if step not in self._now:
            log.error("database trouble", step=step, error=str(error))
        self._now[step] = str(error)
        self._metrics.database_errors.inc()
        await asyncio.sleep(PAUSE)

    def over(self, step: str) -> None:
        """Take note that a step was taken."""
        if self._now.pop(step, None) is not None:
            log.info("database works again", step=step)
