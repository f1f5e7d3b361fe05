"""The database and the outbox as commands open them. Here, and nowhere else in what they do with it, is the engine named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ..ops import sealing
from ..settings.schema import Settings
from ..storage.engine import ActionStore, CleaningStore, Installation, ReadingStore, Session
from ..storage.sqlite import idle, lock, migrate, stats, wal
from ..storage.sqlite.action_store import SqliteActionStore
from ..storage.sqlite.connection import WAIT, begin_reading, open_database, open_reader, transaction
from ..storage.sqlite.errors import engine_errors, session
from ..storage.sqlite.outbox import open_outbox
from ..storage.sqlite.reading_store import SqliteReadingStore
from .options import check_rights

__all__ = ["NOT_KNOWN", "READS", "WAIT", "actions", "empty_wals", "is_daemon_there", "opened_outbox", "reading", "reading_outbox", "reads", "sizes", "standing", "tables", "writing"]  # fmt: skip

READS: ReadingStore = SqliteReadingStore()
NOT_KNOWN = "Whether a daemon runs is not known: PostgreSQL is read-only, and none can note there that it is alive."


def reads(settings: Settings) -> ReadingStore:
    """Return what reads the database, and the outbox where the settings have it; `READS` is for the database alone."""
    if settings.database_place is not None:
        from ..storage.postgres.stores import PostgresReadingStore

        return PostgresReadingStore()
    if settings.outbox_place is None:
        return READS
    from ..storage.mixed.stores import MixedReadingStore  # PostgreSQL's driver is not installed everywhere

    return MixedReadingStore()


def actions(settings: Settings) -> ActionStore:
    """Return what actions write with."""
    if settings.database_place is not None:
        from ..storage.postgres.apart import PostgresActionStoreApart
        from ..storage.postgres.stores import PostgresActionStore

        return PostgresActionStore() if settings.outbox_place is None else PostgresActionStoreApart()
    if settings.outbox_place is None:
        return SqliteActionStore()
    from ..storage.mixed.stores import MixedActionStore

    return MixedActionStore()


def tables(settings: Settings) -> Installation:
    """Return what makes the tables."""
    place = settings.outbox_place
    if (everything := settings.database_place) is not None:
        from ..storage.postgres.apart import PostgresInstallationApart
        from ..storage.postgres.installation import PostgresInstallation

        is_token_given = bool(settings.admin.token)
        if place is not None:
            return PostgresInstallationApart(everything, place, is_token_given=is_token_given)
        return PostgresInstallation(everything, is_token_given=is_token_given)
    if place is None:
        return migrate
    from ..storage.mixed.tables import MixedInstallation

    return MixedInstallation(place)


@contextmanager
def writing(settings: Settings) -> Iterator[Session]:
    """Open the database and begin a transaction, which is committed when the block ends."""
    if settings.database_place is not None:
        with _postgres().writing(settings) as there:
            yield there
        return
    path = settings.database.path
    check_rights(path, os.R_OK | os.W_OK, "written")
    seals = sealing.of(settings)
    with session(open_database(path, seals)) as conn, transaction(conn):
        seals.seal_for(lock.key_ids(path))  # behind `rotate-key`, which has waited until the daemon says the new one
        yield conn


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """Open the database for reading alone: all that the block reads is of one state."""
    if settings.database_place is not None:
        with _postgres().reading(settings) as there:
            yield there
        return
    path = settings.database.path
    check_rights(path, os.R_OK, "read")
    if idle.needed(path):
        with engine_errors(), idle.reading(path, sealing.of(settings)) as conn:
            yield conn
    else:
        with session(open_reader(path, sealing.of(settings))) as conn:
            begin_reading(conn)
            yield conn


@contextmanager
def reading_outbox(settings: Settings) -> Iterator[Session]:
    """Open the outbox to look into it, by a user who may not write to it too where it is in the database."""
    if settings.database_place is not None and settings.outbox_place is None:
        with _postgres().reading(settings) as there:
            yield there
        return
    is_in_database = settings.outbox.path is None and settings.outbox_place is None
    if is_in_database and not os.access(settings.database.path, os.W_OK):
        with reading(settings) as conn:
            yield conn
    else:
        with opened_outbox(settings) as conn:
            yield conn


@contextmanager
def opened_outbox(settings: Settings) -> Iterator[Session]:
    """Open the outbox for writing."""
    if (place := settings.outbox_place) is not None:
        from ..storage.postgres import opening

        with opening.opened(place) as there:
            yield there
        return
    if settings.database_place is not None:
        with _postgres().opened(settings) as everything:
            yield everything
        return
    with session(open_outbox(settings.database.path, settings.outbox.path)) as conn:
        yield conn


def _postgres() -> ModuleType:
    from . import postgres_database  # its driver is not installed everywhere

    return postgres_database


def _cleaning(settings: Settings) -> CleaningStore:
    if settings.outbox_place is None:
        return wal
    from ..storage.mixed.stores import MixedCleaningStore

    return MixedCleaningStore()


def empty_wals(settings: Settings) -> bool:
    """Empty the WALs of our files, where no daemon does it; tell whether no reader was in the way."""
    if settings.database_place is not None:
        with opened_outbox(settings) as there:
            is_clean: bool = _postgres().cleaning(settings).empty_outbox_wal(there)
            return is_clean
    with opened_outbox(settings) as conn:
        done = _cleaning(settings).empty_outbox_wal(conn)
    with session(open_database(settings.database.path)) as conn:
        return done and wal.empty_wal(conn)


def is_daemon_there(settings: Settings) -> bool | None:
    """Tell whether a daemon has the database; None where that is `NOT_KNOWN`."""
    if settings.database_place is not None:
        is_there: bool | None = _postgres().is_daemon_there(settings)
        return is_there
    return lock.is_held(settings.database.path)


def standing(settings: Settings) -> dict[str, str]:
    """Tell what each of several daemons does; nothing of a file, which has one."""
    if settings.database_place is None:
        return {}
    found: dict[str, str] = _postgres().standing(settings)
    return found


def sizes(settings: Settings) -> dict[str, int]:
    """Return the bytes of the database's files, and those free on their disk."""
    if settings.database_place is not None:
        used: dict[str, int] = _postgres().sizes(settings)
        return used
    return stats.sizes(settings.database.path)
