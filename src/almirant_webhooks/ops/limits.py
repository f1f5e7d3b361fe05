"""The system's limit of open files, and how the daemon divides it."""

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
    """How a limit of open files is divided: requests under way, idle kept connections, connections to the pages."""

    files: int
    concurrency: int
    idle: int
    web: int


def fit(files: int, concurrency: int) -> Fit:
    """Divide a limit of open files; `concurrency` is the configured one. Raises `Misconfigured` if the limit is too low.

    An attempt needs two files at its peak: it dials two addresses, or looks a name up.
    """
    if files < LEAST_FILES:
        raise Misconfigured(f"Only {files} files may be open at a time; at least {LEAST_FILES} are needed: {WAYS}.")
    web = max(4, min(MOST_WEB, (files - OWN_FILES) // 8))
    room = files - OWN_FILES - web
    fitting = min(concurrency, room // 2)
    return Fit(files, fitting, room - fitting, web)


def open_files() -> int:
    """Return how many files this process may have open at most, once its soft limit is raised."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard limit, as each connection needs a file; return the limit."""
    limit = open_files()
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
