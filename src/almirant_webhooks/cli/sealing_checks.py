"""Looks at what is sealed in the database: of `doctor` at all of it, and at one webhook's."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..model import Misconfigured
from ..ops import sealing
from ..settings.schema import Settings
from ..storage.engine import Session
from .database import READS, reading
from .findings import Finding, ok


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """Whether the key is there and is this database's, and opens each secret and each header's value."""
    seals = sealing.of(settings)
    if seals.path.exists() and not os.access(seals.path, os.R_OK):
        yield Finding("secrets", "warning", f"Not looked at: this user cannot read the key file {seals.path}.")
        return
    with reading(settings) as conn:
        count, problems = READS.sealed.unopenable(conn)
        is_plain_left = READS.sealed.is_plain_left(conn)
    for problem in problems.values():
        more = "Give the webhook a new one, or restore its row, and enable it."
        yield Finding("secrets", "wrong", f"{problem} {more}")
    if is_plain_left:
        words = "Bytes of secrets of before they were sealed may be left in the file's free space: run `almirant-webhooks migrate`."
        yield Finding("secrets", "warning", words)
    if not seals.is_on:
        yield Finding("secrets", "warning", "secrets.seal is false: whoever can open the database can read them.")
    elif not problems:
        yield ok("secrets", f"Those of {count} webhooks are sealed, and the key in {seals.path} opens them.")


def why_not_opened(conn: Session, webhook_id: str) -> str | None:
    """Say why a webhook's secrets cannot be opened; None if they can be, or if this user has no key."""
    try:
        return READS.sealed.why_not_opened(conn, webhook_id)
    except Misconfigured:
        return None
