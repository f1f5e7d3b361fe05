"""The tables of a database in PostgreSQL: `storage.engine.Installation`."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path

from ...model import Refused
from ...ops.sealing import Seals
from ...rules.postgres_urls import Place
from ..engine import StorageError
from . import database_tables, grants
from .connection import connect


class PostgresInstallation:
    """The tables in a `place`, the outbox's among them. `is_token_given` says that the configuration has the operator's token."""

    def __init__(self, place: Place, *, is_token_given: bool = False) -> None:
        self._place = place
        self._is_token_given = is_token_given

    def migrate(self, database_path: Path, outbox_path: Path | None, seals: Seals, /) -> list[str]:
        """Make or upgrade them, and seal what is secret; return what was done, a sentence each."""
        try:
            return database_tables.migrate_database(self._place, seals, is_token_given=self._is_token_given)
        except StorageError as error:
            raise error.explained(f"the database ({self._place})") from error

    def adopt_outbox(self, database_path: Path, outbox_path: Path | None, since: datetime | None, /) -> int:
        """Raise `Refused`: the outbox is the database's own."""
        raise Refused(
            "With database.url the outbox is in the database, and belongs to no other one: there is nothing to adopt."
        )

    def grant_producer(self, role: str, /) -> list[str]:
        """Grant a role what a producer needs, and nothing else; return what was done, a sentence each."""
        try:
            with closing(connect(self._place)) as session:
                return grants.grant_producer(session, role)
        except StorageError as error:
            raise error.explained(f"the database ({self._place})") from error
