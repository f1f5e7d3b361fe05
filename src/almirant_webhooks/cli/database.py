"""The database and the outbox as commands open them. Here, and nowhere else in what they do with it, is the engine named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..ops import sealing
from ..settings.schema import Settings
from ..storage.engine import ActionStore, Installation, ReadingStore, Session
from ..storage.sqlite import erasing, idle, lock, migrate, stats
from ..storage.sqlite.action_store import SqliteActionStore
from ..storage.sqlite.connection import WAIT, begin_reading, open_database, open_reader, transaction
from ..storage.sqlite.errors import engine_errors, session
from ..storage.sqlite.outbox import open_outbox
from ..storage.sqlite.reading_store import SqliteReadingStore
from .options import check_rights

__all__ = ["ACTIONS", "READS", "TABLES", "WAIT", "empty_wals", "is_daemon_there", "opened_outbox", "reading", "reading_outbox", "sizes", "writing"]  # fmt: skip

READS: ReadingStore = SqliteReadingStore()
ACTIONS: ActionStore = SqliteActionStore()
TABLES: Installation = migrate


@contextmanager
def writing(settings: Settings) -> Iterator[Session]:
    """Open the database and begin a transaction, which is committed when the block ends."""
    path = settings.database.path
    check_rights(path, os.R_OK | os.W_OK, "written")
    with session(open_database(path, sealing.of(settings))) as conn, transaction(conn):
        yield conn


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """Open the database for reading alone: all that the block reads is of one state."""
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
    if settings.outbox.path is None and not os.access(settings.database.path, os.W_OK):
        with reading(settings) as conn:
            yield conn
    else:
        with opened_outbox(settings) as conn:
            yield conn


@contextmanager
def opened_outbox(settings: Settings) -> Iterator[Session]:
    """Open the outbox for writing."""
    with session(open_outbox(settings.database.path, settings.outbox.path)) as conn:
        yield conn


def empty_wals(settings: Settings) -> bool:
    """Empty the WALs of our files, where no daemon does it; tell whether no reader was in the way."""
    with opened_outbox(settings) as conn:
        done = erasing.empty_outbox_wal(conn)
    with session(open_database(settings.database.path)) as conn:
        return done and erasing.empty_wal(conn)


def is_daemon_there(settings: Settings) -> bool:
    """Tell whether a daemon has the database."""
    return lock.is_held(settings.database.path)


def daemon_since(settings: Settings) -> float | None:
    """Tell since when a daemon has the database, None where none has it."""
    return lock.held_since(settings.database.path)


def sizes(settings: Settings) -> dict[str, int]:
    """Return the bytes of the database's files, and those free on their disk."""
    return stats.sizes(settings.database.path)
