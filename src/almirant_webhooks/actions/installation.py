"""Make or upgrade the tables and the keys, and take an outbox over. These have no database yet: they are plain calls."""

from __future__ import annotations

from datetime import datetime

from ..ops import keys, sealing
from ..settings.schema import Settings
from ..storage.engine import Installation


def migrate(tables: Installation, settings: Settings) -> list[str]:
    """Make or upgrade the database, the tables of the outbox and the keys; return what was done, a sentence each.

    Raises `Misconfigured` for files of others, and for what rights or disks do not allow.
    """
    lines = tables.migrate(settings.database.path, settings.outbox.path, sealing.of(settings))
    if settings.database_place is None and keys.ensure(settings.database.path):
        lines.append(f"{keys.path_of(settings.database.path)}: the operator's token made")
    return lines


def grant_producer(tables: Installation, role: str) -> list[str]:
    """Grant a role of PostgreSQL what a producer needs, and nothing else; return what was done, a sentence each.

    Raises `NotFound` for a role that is not there, `Refused` for an outbox in a file, and `Misconfigured` without the right.
    """
    return tables.grant_producer(role)


def adopt_outbox(tables: Installation, settings: Settings, since: datetime | None) -> int:
    """Take the outbox over from whichever database took from it; return how many taken rows are looked at again."""
    return tables.adopt_outbox(settings.database.path, settings.outbox.path, since)
