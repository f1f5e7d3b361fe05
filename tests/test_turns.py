"""Turns: a group's attempts are prepared while it is committed, and made only after that."""

from __future__ import annotations

import asyncio
import sqlite3

from aiohttp import web

from almirant_webhooks.daemon import Daemon

from .conftest import Receiver
from .service import Service


class Commits:
    """Has SQLite refuse every COMMIT on the daemon's connection, as a disk may."""

    def __init__(self, daemon: Daemon) -> None:
        self.refused = 0
        self._database = daemon.dispatcher._database

    def _decide(self, action: int, what: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT":
            self.refused += 1
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    async def refuse(self) -> None:
        await self._database.run(lambda conn: conn.set_authorizer(self._decide))

    async def allow(self) -> None:
        await self._database.run(lambda conn: conn.set_authorizer(None))


async def test_a_group_whose_commit_fails_sends_nothing_and_loses_nothing(
    service_anywhere: Service, receiver: Receiver
) -> None:
    """No request leaves of which the database does not know; its slots and its rows are free again."""
    service = service_anywhere
    if service.outbox is None or not service.outbox.exists():
        service.migrate()
    daemon = await service.start()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))  # its connection is kept
    commits = Commits(daemon)
    await commits.refuse()
    service.insert({"n": 1}, {"n": 2})
    await service.until(lambda: commits.refused >= 3 and daemon.not_ready())
    assert len(receiver.requests) == 1
    assert (daemon.dispatcher.in_flight, daemon.dispatcher.shares.in_flight.total()) == (0, 0)
    await commits.allow()
    await service.until(lambda: len(service.log(state="succeeded")) == 3)
    assert len(receiver.requests) == 3
    assert {row["attempts"] for row in service.log()} == {1}
    unread = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"
    await service.until(lambda: service.producer().execute(unread).fetchone() == (0,))
    assert not daemon.not_ready()


async def test_answers_whose_commit_fails_are_recorded_by_a_later_one(service: Service, receiver: Receiver) -> None:
    """Nobody is asked twice."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slowly(_: web.Request) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response(text="late")

    receiver.answer = slowly
    daemon = await service.start()
    service.webhook(receiver.url)
    service.insert()
    await arrived.wait()
    commits = Commits(daemon)
    await commits.refuse()
    release.set()
    await service.until(lambda: commits.refused >= 2)
    await commits.allow()
    await service.until(lambda: service.log(state="succeeded"))
    (attempt,) = service.detail(service.log()[0]["delivery_id"])["attempt_list"]
    assert (attempt["outcome"], attempt["response_body"]) == ("success", "late")
    assert len(receiver.requests) == 1


async def test_a_request_that_is_refused_without_being_made_waits_for_the_commit_too(service: Service) -> None:
    """What became of an attempt is recorded once, after its beginning."""
    service.options["egress"] = {}
    daemon = await service.start()
    service.webhook("http://localhost/in")
    commits = Commits(daemon)
    await commits.refuse()
    service.insert()
    await service.until(lambda: commits.refused >= 2)
    assert daemon.dispatcher.shares.in_flight.total() == 0
    await commits.allow()
    await service.until(lambda: service.log(status="blocked"))
    assert [row["attempts"] for row in service.log()] == [1]
