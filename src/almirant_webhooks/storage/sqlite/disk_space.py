"""Free space on a file's disk. Without it no events are taken and no attempts begin."""

from __future__ import annotations

import os
from pathlib import Path

LEAST_ROOM = 1024 * 1024  # bytes: for the records of what is in flight when it is reached


def has_free_space(path: Path) -> bool:
    """Return whether a file's disk has the free space that events and claims need."""
    try:
        there = os.statvfs(path)
    except OSError:  # the file has gone: others notice that
        return True
    return there.f_bavail * there.f_frsize >= LEAST_ROOM
