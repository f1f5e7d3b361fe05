"""Opens the outbox for whoever works with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from ...model import Misconfigured
from ...rules.postgres_urls import Place
from ..engine import StorageError
from . import outbox, tables
from .connection import Session, connect
from .errors import engine_errors

_DATABASE = "SELECT to_regclass(%s) IS NOT NULL"


def open_outbox(place: Place) -> Session:
    """Connect to an outbox whose tables are there. Raises `StorageError`, and `Misconfigured` for what cannot be right."""
    session = connect(place)
    try:
        tables.check(session)
    except BaseException:
        session.close()
        raise
    return session


def check_is_no_database(session: Session) -> None:
    """Raise `Misconfigured` for a schema that has a whole database of ours: its own daemons read its outbox."""
    with engine_errors():
        is_there = session.run(_DATABASE, f"{session.place.schema}.database_meta")[0][0]
    if is_there:
        raise Misconfigured(
            f"{session.place} (outbox.url) has a whole database of almirant-webhooks in the schema {session.place.schema}, whose "
            "outbox is its own. Name it in database.url and leave outbox.url out, or name an application's database in outbox.url."
        )


def open_bound(place: Place, identity: Callable[[], tuple[str, int]]) -> Session:
    """Likewise, bound to the database that `identity` tells: its id, and the number of the last batch that it took.

    It is looked at with each connection: the server may have been restored from a backup meanwhile, or be another one.
    """
    session = open_outbox(place)
    try:
        check_is_no_database(session)
        outbox.bind(session, identity)
    except BaseException:
        session.close()
        raise
    return session


@contextmanager
def opened(place: Place) -> Iterator[Session]:
    """Open an outbox for a command; raises `Misconfigured` or `Refused` where that fails, or the block does."""
    try:
        with closing(open_outbox(place)) as session, engine_errors():
            yield session
    except StorageError as error:
        raise error.explained(f"the outbox ({place})") from error
