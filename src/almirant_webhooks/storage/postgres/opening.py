"""Opens the outbox for whoever works with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...rules.postgres_urls import Place
from ..engine import StorageError
from . import outbox, tables
from .connection import Session, connect
from .errors import engine_errors


def open_outbox(place: Place) -> Session:
    """Connect to an outbox whose tables are there. Raises `StorageError`, and `Misconfigured` for what cannot be right."""
    session = connect(place)
    try:
        tables.check(session)
    except BaseException:
        session.close()
        raise
    return session


def open_bound(place: Place, identity: Callable[[], tuple[str, int]]) -> Session:
    """Likewise, bound to the database that `identity` tells: its id, and the number of the last batch that it took.

    It is looked at with each connection: the server may have been restored from a backup meanwhile, or be another one.
    """
    session = open_outbox(place)
    try:
        outbox.bind(session, identity)
    except BaseException:
        session.close()
        raise
    return session


@contextmanager
def opened(place: Place) -> Iterator[Session]:
    """Open an outbox for a command; raises `Misconfigured` or `Refused` where that fails, and `StorageError` for the block."""
    try:
        session = open_outbox(place)
    except StorageError as error:
        raise error.explained(f"the outbox ({place})") from error
    try:
        with engine_errors():
            yield session
    finally:
        session.close()
