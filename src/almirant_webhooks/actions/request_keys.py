"""What requests with a key of their own have done, noted so that one that is repeated gets the same answer."""

from __future__ import annotations

from datetime import datetime

from ..storage.engine import KeyedRow, Session
from .database import Writes


def note(database: Writes, session: Session, owner: str, key_digest: str, row: KeyedRow, *, now: datetime) -> None:
    """Note one thing that a request has done, in the transaction of the change itself.

    Raises `Conflict` where another request of the same key has noted it meanwhile: then nothing is changed.
    """
    database.store.request_keys.note(session, owner, key_digest, row, now)


async def keep(
    database: Writes, owner: str, key_digest: str, row: KeyedRow, *, now: datetime, newest: int | None = None
) -> None:
    """Keep the answer that a request had. Raises `Conflict` and `StorageError`; the change is noted all the same.

    With `newest`, for an owner who has nothing but answers, older ones than so many are forgotten.
    """
    store = database.store.request_keys

    def write(session: Session) -> None:
        store.note(session, owner, key_digest, row, now)
        if newest is not None:
            store.forget_older(session, owner, newest)

    await database.write(write)


async def take(database: Writes, owner: str, key_digest: str, *, since: datetime) -> list[KeyedRow]:
    """Return what a request has done since a time, but for its answer; it is kept no longer."""
    return await database.write(database.store.request_keys.take, owner, key_digest, since)
