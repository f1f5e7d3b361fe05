"""Looks at what is sealed in the database: of `doctor` at all of it, and at one webhook's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..model import Misconfigured
from ..ops import sealing
from ..settings.schema import Settings
from ..storage.engine import Session
from .database import READS, reading
from .findings import Finding, ok


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """Whether the key is there and is this database's, and opens each secret and each header's value."""
    seals = sealing.of(settings)
    if not seals.is_readable() and _is_there(seals.path):
        yield Finding("secrets", "warning", f"Not looked at: this user cannot read the key file {seals.path}.")
        return
    with reading(settings) as conn:
        count, problems = READS.sealed.unopenable(conn)
        is_plain_left, plain = READS.sealed.is_plain_left(conn), READS.sealed.plain_values(conn)
    for problem in problems.values():
        more = "Give the webhook a new one, or restore its row, and enable it."
        yield Finding("secrets", "wrong", f"{problem} {more}")
    if is_plain_left:
        words = "Bytes of secrets of before they were sealed may be left in the file's free space: run `almirant-webhooks migrate`."
        yield Finding("secrets", "warning", words)
    if not seals.is_on:
        words = f"secrets.seal is false, and {_plain(plain)} can be read by whoever can open the database."
        yield Finding("secrets", "warning", words)
    elif plain:
        words = f"{_plain(plain)} can be read by whoever can open the database; `almirant-webhooks migrate` seals them."
        yield Finding("secrets", "wrong", words)
    elif not problems:
        yield ok("secrets", f"Those of {count} webhooks are sealed, and the key in {seals.path} opens them.")


def _plain(count: int) -> str:
    return (
        f"{count} secrets and header values that are plain"
        if count != 1
        else "one secret or header value that is plain"
    )


def _is_there(path: Path) -> bool:
    """Tell whether there is a file, or may be one in a directory into which this user cannot look."""
    try:
        return path.exists()
    except PermissionError:
        return True


def why_not_opened(conn: Session, webhook_id: str) -> str | None:
    """Say why a webhook's secrets cannot be opened; None if they can be, or if this user has no key."""
    try:
        return READS.sealed.why_not_opened(conn, webhook_id)
    except Misconfigured:
        return None
