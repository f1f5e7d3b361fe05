"""What the limits of the system allow: files that may be open, and what the daemon does within them."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import NamedTuple

from ..model import Misconfigured

LEAST_FILES = 64
OWN_FILES = (
    44  # the database, the outbox, their WALs, the lock, the loop, standard streams (30 at most); names looked up
)
MOST_WEB = 64
WAYS = "LimitNOFILE= in the unit, or `ulimit -Hn`"


class Fit(NamedTuple):
    """What fits into a limit of open files: requests under way, kept connections that are idle, connections to the pages."""

    files: int
    concurrency: int
    idle: int
    web: int


def fit(files: int, concurrency: int) -> Fit:
    """Share a limit of open files out, `concurrency` being what is configured; raises `Misconfigured` where it is too low.

    An attempt has two files in the middle of its worst moments: two addresses that are dialled, or a name that is looked up.
    """
    if files < LEAST_FILES:
        raise Misconfigured(f"Only {files} files may be open at a time; at least {LEAST_FILES} are needed: {WAYS}.")
    web = max(4, min(MOST_WEB, (files - OWN_FILES) // 8))
    room = files - OWN_FILES - web
    fitting = min(concurrency, room // 2)
    return Fit(files, fitting, room - fitting, web)


def open_files() -> int:
    """Return how many files this process may have open at a time, once it has asked for all that it can have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_file_limit() -> int:
    """Raise the limit of open files to what the system allows, as each connection is one; return it."""
    limit = open_files()
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
