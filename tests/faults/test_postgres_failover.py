"""A server that becomes read-only, and one whose standby takes over: what is committed is delivered once, and all goes on by itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url

from ..conftest import Receiver
from ..support.postgres import FAST, Outbox, Server, new_database
from ..support.postgres_service import INSERT, EverythingInPostgres, PostgresService, shell_of
from . import postgres_bugs as bugs
from .postgres_flow import EACH, END_ALL, Producer, each_came_once, hooks, kind, until_it_says, until_ready

__all__ = ["kind"]  # a fixture

pytestmark = pytest.mark.slow

# A commit waits for the standby where a session or its database says so.
_WITH_STANDBY = f"{FAST} -c synchronous_standby_names=* -c synchronous_commit=local"


class Primary(Outbox):
    """The outbox on whichever of two servers takes writes."""

    def __init__(self, its_server: Server, database: str, url: str) -> None:
        super().__init__(its_server, database)
        parsed = parse_postgres_url(url)
        assert parsed is not None
        self.url, self.place = url, Place(parsed, self.place.schema)

    def connect(self, user: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Connect as a producer with both hosts in its URL."""
        conn = psycopg.connect(self.url, **options)
        conn.execute("SET search_path = almirant_webhooks, public")
        conn.commit()
        return conn


class Pair:
    """A server with a streaming standby, and the outbox in a database of theirs."""

    def __init__(self, folder: Path, kind: type[PostgresService]) -> None:
        self.first = Server(_WITH_STANDBY)
        self.outbox = new_database(with_outbox=False, its_server=self.first)
        self.service = kind.within(folder, self.outbox)
        self.service.migrate()
        self.second = Server(FAST, standby_of=self.first)
        self.there = Outbox(self.second, self.outbox.database)  # the same, as the standby has it
        hosts = ",".join(quote(str(server.folder), safe="") for server in (self.first, self.second))
        self.service.url = f"postgresql://postgres@/{self.outbox.database}?host={hosts}"

    def catch_up(self) -> None:
        """Return once the standby has all that was committed."""
        with self.outbox.connect() as conn:
            conn.execute("SET LOCAL synchronous_commit = remote_apply")
            conn.execute("UPDATE outbox_meta SET batch = batch")

    def fail_over(self) -> None:
        """Let the first server crash and the standby take over."""
        self.first.stop(signal.SIGQUIT)
        self.second.promote()

    async def close(self) -> None:
        await self.service.close()
        for server in (self.second, self.first):
            server.remove()


@pytest.fixture
async def pair(tmp_path: Path, kind: type[PostgresService]) -> AsyncIterator[Pair]:
    made = await asyncio.to_thread(Pair, tmp_path, kind)
    yield made
    await made.close()


@EACH
async def test_a_standby_that_takes_over_goes_on_where_the_other_was(pair: Pair, receiver: Receiver) -> None:
    """With both hosts in the URL, and commits that wait for the standby: no event is lost, none is sent twice."""
    service = pair.service
    pair.outbox.ask(f"ALTER DATABASE {pair.outbox.database} SET synchronous_commit = remote_apply")
    pair.catch_up()
    service.url += "&target_session_attrs=read-write"
    service.there = Primary(pair.second, pair.outbox.database, service.url)
    await service.start(migrating=False)
    hooks(service, receiver)
    with Producer(service.there, 120) as producer:
        await service.until(partial(producer.has_committed, 60))
        await asyncio.to_thread(pair.fail_over)
        await service.until(producer.is_done)
    await each_came_once(service, receiver, producer.ids)
    await until_ready(service)


async def lose_the_marks(pair: Pair, receiver: Receiver) -> None:
    """Let the standby take over that has the events, and not the marks of the daemon."""
    service = pair.service
    ids = [service.commit() for _ in range(20)]
    await asyncio.to_thread(pair.catch_up)
    await asyncio.to_thread(pair.second.stop)
    service.webhook(receiver.url)  # before the daemon, which takes what waits at once
    await service.start(migrating=False)
    await each_came_once(service, receiver, ids)
    pair.first.stop(signal.SIGQUIT)
    service.there = pair.there
    await asyncio.to_thread(pair.second.start)
    assert not service.is_marked()
    await until_it_says(service, "read-only")
    await asyncio.to_thread(pair.second.promote)
    await each_came_once(service, receiver, ids)
    await until_ready(service)


async def test_marks_that_the_standby_had_not_received_are_made_again(pair: Pair, receiver: Receiver) -> None:
    """After an asynchronous failover. Until the standby is promoted, it is said to be read-only; nothing is sent twice."""
    await lose_the_marks(pair, receiver)


async def test_a_daemon_that_does_not_know_what_it_took_is_found_by_that(
    pair: Pair, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.does_not_know_what_it_has_taken(monkeypatch)
    with pytest.raises(AssertionError):
        await lose_the_marks(pair, receiver)


async def test_doctor_says_of_a_standby_that_it_is_read_only(pair: Pair, tmp_path: Path) -> None:
    """And which setting finds the primary server."""
    pair.outbox.url = pair.service.url
    shell = shell_of(tmp_path, pair.outbox)
    shell.ours("migrate")
    pair.first.stop()
    said = await asyncio.to_thread(shell.ours, "doctor", code=1)
    assert "It is read-only (a standby?): nothing is taken from it." in said
    assert "target_session_attrs" in said


async def make_read_only_for_a_while(service: PostgresService, receiver: Receiver, within: float = 60) -> None:
    """What was committed before is delivered once, after it. The sessions that were made meanwhile would stay read-only."""
    try:
        await service.start()
        service.webhook(receiver.url)
        name = service.there.database
        with service.there.connect(autocommit=True) as producer:
            producer.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            producer.execute(END_ALL)
            producer.execute(INSERT, ["{}"])
            await until_it_says(service, "read-only")
            producer.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await until_ready(service, within)
        await service.until(lambda: service.is_marked() and len(receiver.requests) == 1)
        await service.until(lambda: service.states() == [("succeeded", 1)])
    finally:
        await service.close()


@EACH
async def test_a_server_that_is_made_read_only_is_said_and_its_return_is_noticed(
    tmp_path: Path, receiver: Receiver, kind: type[PostgresService]
) -> None:
    """By `/readyz`, and with no start of the daemon."""
    await make_read_only_for_a_while(kind.within(tmp_path, new_database()), receiver)


async def test_a_daemon_that_keeps_its_read_only_connections_is_found_by_that(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.keeps_a_connection_that_is_read_only(monkeypatch)
    service = EverythingInPostgres.within(tmp_path, new_database())
    with pytest.raises(TimeoutError):
        await make_read_only_for_a_while(service, receiver, within=10)
