"""The tables of a database in SQLite whose outbox is in PostgreSQL: `storage.engine.Installation`."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path

from ...ops.sealing import Seals
from ...rules.postgres_urls import Place
from ..postgres.outbox_installation import OutboxInstallation
from ..sqlite import migrate
from ..sqlite.connection import open_database, transaction
from ..sqlite.outbox import identity, renew_identity


class MixedInstallation:
    """The tables in the database's file, and those of the outbox in a `place`."""

    def __init__(self, place: Place) -> None:
        self._outbox = OutboxInstallation(place)

    def migrate(self, database_path: Path, outbox_path: Path | None, seals: Seals, /) -> list[str]:
        """Make or upgrade them, and seal what is secret; return what was done, a sentence each."""
        return migrate.migrate_database(database_path, seals) + self._outbox.migrate()

    def adopt_outbox(self, database_path: Path, outbox_path: Path | None, since: datetime | None, /) -> int:
        """Take the outbox over from another database; return how many taken rows are looked at again."""

        def renew() -> tuple[str, int]:
            with closing(open_database(database_path)) as database:
                with transaction(database):
                    renew_identity(database)
                return identity(database)

        return self._outbox.adopt(renew, since)

    def grant_producer(self, role: str, /) -> list[str]:
        """Grant a role what a producer needs, and nothing else; return what was done, a sentence each."""
        return self._outbox.grant_producer(role)
