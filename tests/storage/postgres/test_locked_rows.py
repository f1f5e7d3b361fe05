"""Rows of an outbox in our own database that an application holds locked: they wait, and nothing behind them does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.storage.engine import ReadPlan, Work
from almirant_webhooks.storage.postgres import in_database
from almirant_webhooks.storage.postgres.database_session import DatabaseSession
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.postgres.stores import PostgresDeliveryStore

from ...conftest import Receiver
from ...support.daemons import Daemons

FILL = "INSERT INTO outbox (project_id, event_type, payload) SELECT %s, 'work_item.created', '{}' FROM generate_series(1, %s)"
LOCKS = {
    "by SELECT … FOR UPDATE": "SELECT id FROM outbox WHERE id <= %s FOR UPDATE",
    "by an UPDATE": "UPDATE outbox SET payload = payload WHERE id <= %s",
    "by INSERT … ON CONFLICT DO UPDATE": """
        INSERT INTO outbox (event_id, project_id, event_type, payload)
        SELECT event_id, project_id, event_type, payload FROM outbox WHERE id <= %s
        ON CONFLICT (event_id, project_id) DO UPDATE SET payload = EXCLUDED.payload
    """,
}
FOR_UPDATE = LOCKS["by SELECT … FOR UPDATE"]


class Reader:
    """Batches that read the outbox, with two rows of each project at most, as of one whose webhook has two slots."""

    def __init__(self, session: DatabaseSession) -> None:
        self.store = PostgresDeliveryStore(Inside(keep=False))
        self.session = session
        self.asked: list[str] = []  # the projects that the last plan was asked for

    def take(self, rows: int = 8) -> list[int]:
        """Run a batch that reads so many rows at most; return which it took."""
        self.asked = []

        def limit(project: str) -> int:
            self.asked.append(project)
            return 2

        now, plan = clock.now(), ReadPlan(rows, limit=limit)
        with self.store.transaction(self.session):
            done = self.store.write(self.session, Work([], to_read=plan), Schedule((timedelta(0),)), now).fan_out
        return [] if done is None else [mark.row.id for mark in done.marks]


@pytest.fixture
def reader(daemons: Daemons) -> Iterator[Reader]:
    with closing(daemons.session()) as session:
        yield Reader(session)


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
async def test_others_of_the_same_project_are_taken(daemons: Daemons, reader: Reader, lock: str) -> None:
    """Those that were locked are taken once they are not, by the first read that finds nothing else."""
    daemons.there.ask(FILL, "p", 6)
    with daemons.there.connect() as application:
        application.execute(lock, [3])
        assert reader.take() == [4, 5]
        assert reader.take() == [6]
        assert reader.take() == []
        application.rollback()
    assert reader.take() == [1, 2]
    assert reader.take() == [3]


async def test_hundreds_of_them_are_passed_by(daemons: Daemons, reader: Reader) -> None:
    """Also where a read is small; and the plan is asked once for each project, however often rows are chosen."""
    daemons.there.ask(FILL, "p", 500)
    daemons.there.ask(FILL, "q", 2)
    with daemons.there.connect() as application:
        application.execute(FOR_UPDATE, [499])
        assert sorted(reader.take(4)) == [500, 501, 502]
        assert Counter(reader.asked) == {"p": 1, "q": 1}


async def test_they_are_looked_at_again_while_others_are_found(
    daemons: Daemons, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half a second; here after none."""
    monkeypatch.setattr(in_database, "LOCKED_FOR", 0.0)
    daemons.there.ask(FILL, "p", 6)
    with daemons.there.connect() as application:
        application.execute(FOR_UPDATE, [2])
        assert reader.take() == [3, 4]
        application.rollback()
    assert reader.take() == [1, 2]


async def test_a_daemon_delivers_beside_them(daemons: Daemons, receiver: Receiver) -> None:
    """Of a project whose only webhook hangs, and has a slot for one more row; and them once they are free."""
    answers = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await answers.wait()
        return web.Response()

    daemons.options["delivery"] = {"timeout": "60s"}
    daemon = await daemons.start()
    daemons.webhook(receiver.url, concurrency=2)
    daemons.send("proj_1")
    await daemons.until(lambda: len(receiver.requests) == 1)
    receiver.answer = hang
    daemons.send("proj_1")
    await daemons.until(lambda: len(receiver.requests) == 2)
    with daemons.there.connect() as application:

        def insert_and_lock(_: object) -> None:
            application.execute(FILL, ["proj_1", 6])
            application.commit()
            application.execute(FOR_UPDATE, [4])

        await daemon.loop.worker.run(insert_and_lock)  # in whose thread no batch is written meanwhile
        await daemons.until(lambda: len(receiver.requests) > 2)
        answers.set()
        await daemons.until(lambda: len(receiver.requests) == 6)
    await daemons.until(lambda: len(receiver.requests) == 8)
    assert len({request.headers["X-Almirant-Delivery"] for request in receiver.requests}) == 8
