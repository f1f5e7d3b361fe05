"""Room on the disk of a file, without which nothing new is taken or begun."""

from __future__ import annotations

import os
from pathlib import Path

LEAST_ROOM = 1024 * 1024  # bytes: for the records of what is in flight when it is reached


def has_free_space(path: Path) -> bool:
    """Tell whether the file system of a file has the least room that there must be for events and claims."""
    try:
        there = os.statvfs(path)
    except OSError:  # the file has gone: others notice that
        return True
    return there.f_bavail * there.f_frsize >= LEAST_ROOM
