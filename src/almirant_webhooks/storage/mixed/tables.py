"""The tables of a database in SQLite whose outbox is in PostgreSQL: `storage.engine.Installation`."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path

from ...model import Misconfigured, Refused
from ...ops.sealing import Seals
from ...rules.postgres_urls import Place
from ..engine import StorageError
from ..postgres import grants, opening, outbox, tables
from ..postgres.connection import connect
from ..sqlite import migrate
from ..sqlite.connection import open_database, transaction
from ..sqlite.outbox import identity, renew_identity


class MixedInstallation:
    """The tables in the database's file, and those of the outbox in a `place`."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def migrate(self, database_path: Path, outbox_path: Path | None, seals: Seals, /) -> list[str]:
        """Make or upgrade them, and seal what is secret; return what was done, a sentence each."""
        lines = migrate.migrate_database(database_path, seals)
        try:
            with closing(connect(self._place)) as session:
                return lines + tables.migrate(session)
        except StorageError as error:
            raise self._explained(error) from error

    def adopt_outbox(self, database_path: Path, outbox_path: Path | None, since: datetime | None, /) -> int:
        """Take the outbox over from another database; return how many taken rows are looked at again."""
        with closing(open_database(database_path)) as database:
            with transaction(database):
                renew_identity(database)
            bound_to = identity(database)
        try:
            with closing(opening.open_outbox(self._place)) as session:
                return outbox.adopt(session, *bound_to, since)
        except StorageError as error:
            raise self._explained(error) from error

    def grant_producer(self, role: str, /) -> list[str]:
        """Grant a role what a producer needs, and nothing else; return what was done, a sentence each."""
        try:
            with closing(connect(self._place)) as session:
                return grants.grant_producer(session, role)
        except StorageError as error:
            raise self._explained(error) from error

    def _explained(self, error: StorageError) -> Refused | Misconfigured:
        return error.explained(f"the outbox ({self._place})")
