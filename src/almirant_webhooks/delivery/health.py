"""Trouble with the database, step by step: said once when it begins and once when it is over."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import structlog

from ..ops.metrics import Metrics
from ..storage.sqlite.connection import explain, is_beyond_repair, is_busy, primary_code
from ..storage.sqlite.triggers import TriggerFails

PAUSE = 0.5  # seconds after a failed transaction
FULL = "the disk is full"
LEAST_ROOM = 1024 * 1024  # bytes: for the records of what is in flight when it is reached

log = structlog.get_logger("almirant_webhooks")


def has_room(path: Path) -> bool:
    """Tell whether the file system of a file has the least room that there must be for events and claims."""
    try:
        there = os.statvfs(path)
    except OSError:  # the file has gone: others notice that
        return True
    return there.f_bavail * there.f_frsize >= LEAST_ROOM


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

    def words(self) -> str | None:
        """Return in words which steps cannot be taken and why, or None."""
        return "; ".join(f"cannot {step}: {why}" for step, why in list(self._now.items())) or None

    def fail(self, step: str, error: sqlite3.Error) -> None:
        """Take note that a step failed; raises what no later try can mend."""
        if is_beyond_repair(error):
            raise explain(error, f"the database (cannot {step})")
        self._metrics.database_errors.inc()
        self._note(step, _words(error), str(error))

    def fail_full(self, step: str) -> None:
        """Take note that a step has to wait for room on the disk."""
        self._note(step, FULL, "less than the least room is left")

    def _note(self, step: str, words: str, error: str) -> None:
        if self._now.get(step) != words:
            log.error("database trouble", step=step, why=words, error=error)
        self._now[step] = words

    def clear(self, step: str) -> None:
        """Take note that a step was taken."""
        if self._now.pop(step, None) is not None:
            log.info("database works again", step=step)


def _words(error: sqlite3.Error) -> str:
    if primary_code(error) == sqlite3.SQLITE_FULL:
        return FULL
    if is_busy(error):
        return "the database is locked by another program"
    if isinstance(error, TriggerFails):
        return str(error)
    return "the database cannot be written"
