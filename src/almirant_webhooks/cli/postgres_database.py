"""A database in PostgreSQL as commands open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from ..model import Misconfigured
from ..ops import sealing
from ..rules.buckets import BUCKETS
from ..rules.postgres_urls import Place
from ..settings.schema import Settings
from ..storage.engine import StorageError
from ..storage.postgres import daemons, database_session, database_tables
from ..storage.postgres.apart import PostgresCleaningStoreApart
from ..storage.postgres.database_session import DatabaseSession
from ..storage.postgres.stores import PostgresCleaningStore


def place_of(settings: Settings) -> Place:
    """Return where it is."""
    if (place := settings.database_place) is None:
        raise Misconfigured("database.url is empty.")
    return place


@contextmanager
def opened(settings: Settings) -> Iterator[DatabaseSession]:
    """Open it; raises `Misconfigured` or `Refused` where that fails, or the block does."""
    place = place_of(settings)
    try:
        with closing(database_session.open_database(place, sealing.of(settings))) as session, session.errors():
            database_tables.check(session)
            yield session
    except StorageError as error:
        raise error.explained(f"the database ({place})") from error


@contextmanager
def reading(settings: Settings) -> Iterator[DatabaseSession]:
    """Open it for reading alone: all that the block reads is of one state."""
    with opened(settings) as session:
        database_session.begin_reading(session)
        yield session


@contextmanager
def writing(settings: Settings) -> Iterator[DatabaseSession]:
    """Open it and begin a transaction, which is committed when the block ends."""
    with opened(settings) as session, database_session.writing(session):
        yield session


def is_daemon_there(settings: Settings) -> bool | None:
    """Tell whether a daemon is there; None where the server is read-only, so that none can say it."""
    with opened(settings) as session:
        return daemons.is_one_there(session)


def standing(settings: Settings) -> dict[str, str]:
    """Tell of each daemon that is alive its host and process, and what it owns, by its id."""
    with opened(settings) as session:
        return {
            row[
                "id"
            ]: f"{row['name']} owns {row['buckets']} of {BUCKETS} buckets with {row['projects']} projects, since {row['since']}"
            for row in daemons.listed(session)
        }


def cleaning(settings: Settings) -> PostgresCleaningStore:
    """Return what removes what was erased from the tables."""
    if settings.outbox_place is None:
        return PostgresCleaningStore()
    place, seals = place_of(settings), sealing.of(settings)
    return PostgresCleaningStoreApart(lambda: database_session.open_database(place, seals))


def sizes(settings: Settings) -> dict[str, int]:
    """Return the bytes of the tables and their indexes."""
    with opened(settings) as session:
        return {"database": daemons.bytes_used(session)}
