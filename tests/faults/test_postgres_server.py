"""Trouble of the server beside which events flow: nothing is lost, nothing is sent twice, it is said, and all goes on by itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from ..conftest import Receiver
from ..support.postgres import Server, new_database
from ..support.postgres_service import INSERT, PostgresService
from . import postgres_bugs as bugs
from .cutting import Cut, cutting
from .postgres_flow import (
    EACH,
    END_ALL,
    EVERYTHING,
    OURS,
    Producer,
    each_came_once,
    hooks,
    kind,
    until_it_says,
    until_ready,
    until_sent,
)

__all__ = ["kind"]  # a fixture

pytestmark = pytest.mark.slow

END_ONE = f"SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE {OURS} ORDER BY random() LIMIT 1) AS ours"
FOUND = (AssertionError, TimeoutError)


@pytest.fixture
async def service(tmp_path: Path, kind: type[PostgresService]) -> AsyncIterator[PostgresService]:
    """A daemon, not started yet, with a database on the server that tests share."""
    there = kind.within(tmp_path, new_database())
    yield there
    await there.close()


@pytest.fixture
async def apart(tmp_path: Path, kind: type[PostgresService]) -> AsyncIterator[PostgresService]:
    """The same on a server that the test may stop."""
    server = Server()
    there = kind.within(tmp_path, new_database(with_outbox=False, its_server=server))
    yield there
    await there.close()
    server.remove()


async def stop_the_server(service: PostgresService, receiver: Receiver, within: float = 60) -> None:
    """By a fast stop, a crash, and a stop again, while events flow."""
    await service.start()
    hooks(service, receiver)
    server = service.there.server
    with Producer(service.there, 160) as producer:
        for number, how in enumerate((signal.SIGINT, signal.SIGQUIT, signal.SIGINT), 1):
            await service.until(partial(producer.has_committed, number * 40))
            await asyncio.to_thread(server.stop, how)
            await until_it_says(service, "PostgreSQL")
            await asyncio.to_thread(server.start)
            await until_ready(service, within)
        await service.until(producer.is_done)
    await each_came_once(service, receiver, producer.ids)


@EACH
async def test_a_server_that_is_stopped_while_events_flow_costs_nothing(
    apart: PostgresService, receiver: Receiver
) -> None:
    """The daemon says so, and goes on by itself."""
    await stop_the_server(apart, receiver)


async def test_a_daemon_that_does_not_connect_again_is_found_by_that(
    apart: PostgresService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.keeps_a_connection_that_is_lost(monkeypatch)
    with pytest.raises(FOUND):
        await stop_the_server(apart, receiver, within=5)


async def end_sessions_over_and_over(
    service: PostgresService, receiver: Receiver, ends: str, within: float = 120
) -> None:
    """By an administrator, after each 20 events."""
    await service.start()
    hooks(service, receiver)
    with Producer(service.there, 200) as producer, service.there.connect(autocommit=True) as admin:
        for count in range(20, 200, 20):
            await service.until(partial(producer.has_committed, count))
            admin.execute(ends)
        await service.until(producer.is_done)
    await each_came_once(service, receiver, producer.ids, within)


@EACH
@pytest.mark.parametrize("ends", [END_ONE, END_ALL], ids=["one of them", "all of them"])
async def test_sessions_that_are_ended_over_and_over_cost_nothing(
    service: PostgresService, receiver: Receiver, ends: str
) -> None:
    """Each event arrives once, and as many attempts are recorded as were made."""
    await end_sessions_over_and_over(service, receiver, ends)


@EVERYTHING
async def test_a_daemon_whose_ended_sessions_stay_so_is_found_by_that(
    service: PostgresService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.keeps_a_connection_that_is_lost(monkeypatch)
    with pytest.raises(FOUND):
        await end_sessions_over_and_over(service, receiver, END_ALL, within=10)


async def cut_at_the_commit_of_marks(
    service: PostgresService, receiver: Receiver, cut: Cut, within: float = 120
) -> None:
    """Cut two of three such connections."""
    cuts = 0

    def asked() -> Cut | None:
        nonlocal cuts
        cuts += 1
        return cut if cuts % 3 else None

    async with cutting(service.there, b"SET fanned_out_at", asked) as service.url:
        try:
            await service.start()
            hooks(service, receiver)
            ids = []
            for count in range(5, 30, 5):
                ids += [service.commit() for _ in range(5)]
                await until_sent(service, receiver, count)
            await service.until(lambda: cuts > 3)
            await each_came_once(service, receiver, ids, within)
        finally:
            await service.close()


@pytest.mark.parametrize("cut", Cut)
async def test_a_connection_that_is_cut_at_the_commit_of_marks_sends_nothing_twice(
    service: PostgresService, receiver: Receiver, cut: Cut
) -> None:
    """Whether the server has committed or not: rows that were marked are not read again, others are duplicates."""
    await cut_at_the_commit_of_marks(service, receiver, cut)


async def test_a_lost_commit_that_is_taken_for_made_is_found_by_that(
    service: PostgresService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what was taken is not known by its id either."""
    bugs.takes_every_mark_for_made(monkeypatch)
    bugs.does_not_know_what_it_has_taken(monkeypatch)
    with pytest.raises(FOUND):
        await cut_at_the_commit_of_marks(service, receiver, Cut.BEFORE, within=10)


async def test_a_lock_on_the_outbox_delays_its_own_rows_alone(service: PostgresService, receiver: Receiver) -> None:
    """Somebody's LOCK TABLE: a resend of what the database has goes out; the rows follow once it is released."""
    await service.start()
    service.webhook(receiver.url)
    service.commit()
    await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
    with service.there.connect() as somebody:
        somebody.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        somebody.execute(INSERT, ['{"of": "who has the lock"}'])
        assert service.resend(service.log()[0]["delivery_id"])
        await until_sent(service, receiver, 2)
    await service.until(lambda: sorted(service.states()) == [("succeeded", 1), ("succeeded", 2)])
    await until_ready(service)
    assert len(receiver.requests) == 3


async def test_a_statement_that_takes_too_long_is_given_up_and_done_again(
    service: PostgresService, receiver: Receiver
) -> None:
    """By a trigger of the application that sleeps: it is said meanwhile; events were sent once, and are marked in the end."""
    there = service.there
    there.ask("""CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$""")
    there.ask("CREATE TRIGGER sleep BEFORE UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION sleep()")
    await service.start()
    service.webhook(receiver.url)
    ids = [service.commit()]
    await until_sent(service, receiver, 1)
    await until_it_says(service, "PostgreSQL does not answer")
    await asyncio.to_thread(there.ask, "DROP TRIGGER sleep ON outbox")  # waits for the statement's end
    await each_came_once(service, receiver, ids)
    await until_ready(service)


TRIGGER = """
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER sleep BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION sleep()
"""


@EVERYTHING
async def test_a_lock_on_a_table_of_ours_holds_all_up_until_it_is_released(
    service: PostgresService, receiver: Receiver
) -> None:
    """It is said; what was under way is recorded once the lock is released, and is not sent again."""
    await service.start()
    service.webhook(receiver.url)
    ids = [service.commit()]
    await each_came_once(service, receiver, ids)
    with service.there.connect() as somebody:
        somebody.execute("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE")
        ids.append(service.commit())
        await until_it_says(service, "the database is locked by another program")
    await each_came_once(service, receiver, ids)
    await until_ready(service)


@EVERYTHING
async def test_a_statement_on_a_table_of_ours_that_takes_too_long_is_given_up_and_done_again(
    service: PostgresService, receiver: Receiver
) -> None:
    """It is said in words of its own."""
    await service.start()
    service.there.ask(TRIGGER)
    service.webhook(receiver.url)
    ids = [service.commit()]
    await until_it_says(service, "PostgreSQL takes too long for a statement")
    await asyncio.to_thread(service.there.ask, "DROP TRIGGER sleep ON events")  # waits for the statement's end
    await each_came_once(service, receiver, ids)
    await until_ready(service)
