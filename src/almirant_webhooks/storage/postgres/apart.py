"""The database in PostgreSQL with the outbox in an application's own: what differs from one that is in the database.

Rows are copied into the database in the transaction of a batch, and marked in the outbox afterwards, as beside a file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import datetime
from pathlib import Path

from ...ops.sealing import Seals
from ...rules.postgres_urls import Place
from .. import engine
from ..engine import StorageError
from . import connection, database_session, outbox
from .connection import Session, connect, transaction
from .database_session import DatabaseSession
from .installation import PostgresInstallation
from .outbox_installation import OutboxInstallation
from .stores import CONTENT, PostgresActionStore, PostgresCleaningStore

# A lock that waits for no batch, and that no standby gives: its number may be an older one.
_IDENTITY = "SELECT database_id, batch FROM database_meta FOR KEY SHARE"
_RENEW = "UPDATE database_meta SET database_id = 'db_' || replace(gen_random_uuid()::text, '-', '') RETURNING database_id, batch"
LEFT_IN_DATABASE = (
    "There are rows in the outbox of the database itself, which nobody reads, shows, erases or prunes while outbox.url names another "
    "one. Leave outbox.url out until the daemons have taken those that wait, and delete the others."
)


def identity_of(place: Place) -> tuple[str, int]:
    """Return the id of the database in a place, and the number of the last batch that took rows from an outbox apart.

    It is asked by a connection of its own. Raises `StorageError`.
    """
    with closing(connect(place)) as session, transaction(session):
        ((database_id, batch),) = session.run(_IDENTITY)
        return str(database_id), int(batch)


class PostgresActionStoreApart(PostgresActionStore):
    """Inserts events and erases payloads there."""

    events: engine.EventInserts = outbox

    def transaction(self, session: Session, wait: float) -> AbstractContextManager[object]:
        """Run a block as one write transaction on a session of the outbox."""
        return connection.transaction(session, wait)


class PostgresCleaningStoreApart(PostgresCleaningStore):
    """Has both vacuumed: the database by a session of its own that `open_session` opens, as deliveries would wait for it on theirs."""

    def __init__(self, open_session: Callable[[], DatabaseSession]) -> None:
        self._open_session = open_session

    def empty_outbox_wal(self, session: Session, /) -> bool:
        """Vacuum the outbox, and the tables of the database that hold content."""
        with closing(self._open_session()) as database:
            is_done = database.vacuum_tables(*CONTENT)
        return outbox.vacuum(session) and is_done


class PostgresInstallationApart(PostgresInstallation):
    """The tables in a `place`, and those of the outbox in another one."""

    def __init__(self, place: Place, outbox_place: Place, *, is_token_given: bool = False) -> None:
        super().__init__(place, is_token_given=is_token_given)
        self._outbox = OutboxInstallation(outbox_place)

    def migrate(self, database_path: Path, outbox_path: Path | None, seals: Seals, /) -> list[str]:
        """Make or upgrade them, and seal what is secret; return what was done, a sentence each.

        The outbox comes first: what is said of the database has a token in it, which is shown this once.
        """
        lines = self._outbox.migrate()
        return [*super().migrate(database_path, outbox_path, seals), *lines]

    def adopt_outbox(self, database_path: Path, outbox_path: Path | None, since: datetime | None, /) -> int:
        """Take the outbox over from another database; return how many taken rows are looked at again."""
        return self._outbox.adopt(self._renewed, since)

    def grant_producer(self, role: str, /) -> list[str]:
        """Grant a role what a producer needs, and nothing else; return what was done, a sentence each."""
        return self._outbox.grant_producer(role)

    def _renewed(self) -> tuple[str, int]:
        """Give the database a new id; return it with the number of the last batch that it took."""
        try:
            with closing(connect(self._place)) as session, transaction(session, first=database_session.ALONE):
                ((database_id, batch),) = session.run(_RENEW)
                return str(database_id), int(batch)
        except StorageError as error:
            raise error.explained(f"the database ({self._place})") from error
