"""Failures of our own (a shortage, a bug) rather than the receiver's. They cost no delivery a try."""

from __future__ import annotations

import errno
import socket
from datetime import datetime

import structlog

from ..model import Claim, Outcome, Result

log = structlog.get_logger("almirant_webhooks")

NO_FILES = "the daemon has too many files open"
NO_MEMORY = "the daemon's machine has no memory left"
NO_THREAD = "the daemon can start no more threads"
INTERNAL = "internal error"
NO_SIGN = "the daemon could give no sign of life, and others may send in its place"
AFTER_FAULT = 60.0  # seconds
_SHORT_OF = {
    errno.EMFILE: NO_FILES,
    errno.ENFILE: NO_FILES,
    errno.ENOMEM: NO_MEMORY,
    errno.ENOBUFS: NO_MEMORY,
    errno.EAGAIN: NO_THREAD,
    socket.EAI_MEMORY: NO_MEMORY,
}
SHORTAGES = frozenset(_SHORT_OF.values())


class MayNotSend(Exception):
    """Other daemons may have taken this one for gone: nothing may be sent."""


def own_fault(error: BaseException | None) -> str | None:
    """Return which shortage of ours (files, memory, threads) caused an error, or None."""
    if error is None:
        return None
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, MayNotSend):
        return NO_SIGN
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return NO_THREAD
    own = _SHORT_OF.get(error.errno or 0) if isinstance(error, OSError) else None
    return own or own_fault(getattr(error, "os_error", None)) or own_fault(error.__cause__)


def interrupted_by_us(claim: Claim, error: BaseException, finished_at: datetime) -> Result:
    """Return the result of an attempt that failed because of us. It costs no try; after a bug the next one waits 60 s.

    The log says where a bug was.
    """
    fault = own_fault(error)
    if fault is None:
        log.error("a fault of ours interrupted an attempt", delivery_id=claim.delivery_id, exc_info=error)
    return Result(
        claim,
        Outcome.INTERRUPTED,
        finished_at,
        0,
        cause=fault or INTERNAL,
        free=True,
        retry_after=None if fault else AFTER_FAULT,
    )
