"""Which steps the database makes fail, logged once when trouble begins and once when it is over."""

from __future__ import annotations

import structlog

from ..ops.metrics import Metrics
from ..storage.engine import Full, StorageError, is_beyond_repair

PAUSE = 0.5  # seconds after a failed transaction

log = structlog.get_logger("almirant_webhooks")


class Health:
    """The steps that fail at the moment, and why. The delivery thread changes it, the event loop reads it; in memory only."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._failing: dict[str, str] = {}

    def __contains__(self, step: str) -> bool:
        return step in self._failing

    def reason(self, step: str) -> str | None:
        """Return why a step fails, or None."""
        return self._failing.get(step)

    def summary(self) -> str | None:
        """Return a sentence on which steps fail and why, or None."""
        return "; ".join(f"cannot {step}: {reason}" for step, reason in list(self._failing.items())) or None

    def fail(self, step: str, error: StorageError) -> None:
        """Note that a step failed. Raises `Misconfigured` for an error that no retry can fix."""
        if is_beyond_repair(error):
            raise error.explained(f"the database (cannot {step})")
        self._metrics.database_errors.inc()
        self._set(step, error.why, str(error))

    def fail_disk_full(self, step: str) -> None:
        """Note that a step has to wait because the disk is full."""
        self._set(step, Full.why, "less than the least room is left")

    def _set(self, step: str, words: str, error: str) -> None:
        if self._failing.get(step) != words:
            log.error("database trouble", step=step, why=words, error=error)
        self._failing[step] = words

    def clear(self, step: str) -> None:
        """Note that a step succeeded."""
        if self._failing.pop(step, None) is not None:
            log.info("database works again", step=step)
