"""Writers of a database in PostgreSQL get its lock in turn, so that the delivery loop need leave it to nobody."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

from almirant_webhooks.storage.postgres.database_session import WRITERS, writing

from ...support.daemons import Daemons

WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"


async def test_who_asks_for_the_lock_first_has_it_first(tmp_path: Path) -> None:
    """A writer that asks again and again, as the delivery loop does, comes behind one that waits."""
    database = Daemons(tmp_path)
    database.migrate()
    order = []

    def write(name: str) -> None:
        with closing(database.session()) as session, writing(session):
            order.append(name)

    with closing(database.session()) as session:
        with writing(session):
            waiting = asyncio.create_task(asyncio.to_thread(write, "who waited"))
            await database.until(lambda: database.there.ask(WAITS, WRITERS) == [(1,)])
        with writing(session):
            order.append("who asked again")
    await waiting
    assert order == ["who waited", "who asked again"]
    await database.close()
