"""A server without a connection left, or without room on its disk, and the daemon's own disk without any: each is said, and is no loss."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from aiohttp import web

from ..conftest import Receiver
from ..support import needs
from ..support.postgres import FAST, NOBODY, Server, new_database
from ..support.postgres_roles import make_daemon_role, make_role
from ..support.postgres_service import PostgresService, shell_of
from . import postgres_bugs as bugs
from .postgres_flow import EVERYTHING, each_came_once, kind, until_it_says, until_ready, until_sent
from .test_disk_full import Disk, disk, is_full

__all__ = ["disk", "kind"]  # fixtures

pytestmark = pytest.mark.slow

FOUND = (AssertionError, TimeoutError)
# Five rows fill a page: a mark needs another one.
FILL = """
INSERT INTO outbox (project_id, event_type, payload, event_id)
SELECT 'proj_1', 'work_item.created', json_build_object('text', (SELECT string_agg(md5(random()::text), '')
    FROM generate_series(1, 47) WHERE number > 0)), 'event-' || number FROM generate_series(1, 60) number
RETURNING event_id
"""


@pytest.fixture
def narrow() -> Iterator[Server]:
    """A server with 12 connections for all, of which 3 are kept for superusers."""
    made = Server(FAST.replace("max_connections=60", "max_connections=12"))
    yield made
    made.remove()


async def test_a_server_without_a_connection_left_is_said_and_one_that_is_free_again_is_taken(
    narrow: Server, tmp_path: Path, receiver: Receiver
) -> None:
    """An application has them all: `/readyz` and `doctor` say so, and what to raise; one that is given back is enough."""
    there = new_database(with_outbox=False, its_server=narrow)
    service = PostgresService(tmp_path / "log.db", there)
    service.migrate()
    role, shop = make_daemon_role(there), make_role(there, "shop")
    service.url = narrow.url(there.database, role)
    shell = shell_of(tmp_path, there)
    shell.config.write_text(shell.config.read_text().replace(there.url, service.url))
    service.webhook(receiver.url)
    ids = [service.commit()]
    try:
        with ExitStack() as shops:
            for _ in range(9):
                shops.enter_context(narrow.connect(there.database, shop))
            await service.start(migrating=False)  # it begins all the same
            await until_it_says(service, "too many connections")
            said = await asyncio.to_thread(shell.ours, "doctor", code=1)
            assert "PostgreSQL takes no connection" in said
            assert "connection slots" in said
            assert receiver.requests == []
        await each_came_once(service, receiver, ids)
        await until_ready(service)
    finally:
        await service.close()


@pytest.fixture
async def cramped(tmp_path: Path, kind: type[PostgresService]) -> AsyncIterator[tuple[PostgresService, Disk]]:
    """A database whose tables are on a small disk; the server's log of changes is not."""
    server = Server()
    try:
        with needs.small_disk(server.folder / "small", 24) as path:
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
            there = new_database(with_outbox=False, its_server=server)
            with server.connect(autocommit=True) as conn:
                conn.execute(f"CREATE TABLESPACE small LOCATION '{path}'")
                conn.execute(f"ALTER DATABASE {there.database} SET TABLESPACE small")
            service = kind.within(tmp_path, there)
            yield service, Disk(path)
            await service.close()
    finally:
        server.remove()


async def send_without_room_for_marks(service: PostgresService, disk: Disk, receiver: Receiver) -> None:
    """Take events from a server whose disk is full already; then let it have room."""
    shell = shell_of(service.database.parent, service.there)
    service.migrate()
    ids = [event_id for (event_id,) in service.there.ask(FILL)]
    disk.fill()
    service.webhook(receiver.url)
    await service.start(migrating=False)
    await until_sent(service, receiver, len(ids))
    await until_it_says(service, "PostgreSQL has no room left")
    said = await asyncio.to_thread(shell.ours, "doctor", code=1)
    assert "could not extend file" in said, said
    disk.free()
    await each_came_once(service, receiver, ids)
    await until_ready(service)


async def test_events_are_sent_once_while_the_server_s_disk_has_no_room_for_marks(
    cramped: tuple[PostgresService, Disk], receiver: Receiver
) -> None:
    """`/readyz` says whose disk it is; once there is room they are marked."""
    await send_without_room_for_marks(*cramped, receiver)


async def test_marks_that_are_taken_for_made_are_found_by_that(
    cramped: tuple[PostgresService, Disk], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.takes_every_mark_for_made(monkeypatch)
    bugs.does_not_know_what_it_has_taken(monkeypatch)
    with pytest.raises(FOUND):
        await send_without_room_for_marks(*cramped, receiver)


@EVERYTHING
async def test_nothing_begins_while_the_server_s_disk_is_full_at_a_start(
    cramped: tuple[PostgresService, Disk], receiver: Receiver
) -> None:
    """The daemon cannot even join the others; it begins all the same, and `/readyz` and `doctor` say why nothing is sent."""
    service, disk = cramped
    service.migrate()
    service.webhook(receiver.url)
    ids = [event_id for (event_id,) in service.there.ask(FILL)]
    disk.fill()
    await service.start(migrating=False)
    await until_it_says(service, "PostgreSQL has no room left")
    said = await asyncio.to_thread(service.shell().ours, "doctor", code=1)
    assert "could not extend file" in said, said
    assert receiver.requests == []
    disk.free()
    await each_came_once(service, receiver, ids)
    await until_ready(service)


async def fill_the_disk_while_requests_are_under_way(
    service: PostgresService, disk: Disk, receiver: Receiver, within: float = 120
) -> None:
    """Let them end while nothing can be recorded; then let the disk have room."""
    gate = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await gate.wait()
        return web.Response(text=os.urandom(800).hex())  # so that five attempts fill a page

    receiver.answer = answer
    service.options["delivery"] = {"timeout": "2m"}
    service.migrate()
    service.webhook(receiver.url)
    await service.start(migrating=False)
    ids = [event_id for (event_id,) in service.there.ask(FILL)]
    await until_sent(service, receiver, 1)
    disk.fill()
    gate.set()
    await until_it_says(service, "PostgreSQL has no room left")
    disk.free()
    await each_came_once(service, receiver, ids, within)
    await until_ready(service)


@EVERYTHING
async def test_what_ends_while_the_server_s_disk_is_full_is_recorded_when_it_has_room(
    cramped: tuple[PostgresService, Disk], receiver: Receiver
) -> None:
    """No request is made again for it, and none that cannot be recorded is begun."""
    await fill_the_disk_while_requests_are_under_way(*cramped, receiver)


@EVERYTHING
async def test_a_daemon_that_forgets_what_it_could_not_record_is_found_by_that(
    cramped: tuple[PostgresService, Disk], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.forgets_what_it_could_not_record(monkeypatch)
    with pytest.raises(FOUND):
        await fill_the_disk_while_requests_are_under_way(*cramped, receiver, within=10)


async def test_events_wait_in_postgresql_while_the_database_s_own_disk_is_full(disk: Disk, receiver: Receiver) -> None:
    """Unmarked, as nobody has them yet: a daemon that ends meanwhile loses none."""
    service = PostgresService(disk.path / "log.db", new_database())
    service.migrate()
    service.webhook(receiver.url)
    try:
        await service.start(migrating=False)
        disk.fill()
        await service.until(lambda: is_full(service))
        ids = [service.commit(f'{{"n": {number}, "text": "{"x" * 1000}"}}') for number in range(50)]
        await service.stop()
        assert receiver.requests == []
        assert service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NOT NULL") == (0,)
        disk.free()
        await service.start(migrating=False)
        await each_came_once(service, receiver, ids)
    finally:
        await service.close()


async def wait_for_the_database(service: PostgresService, receiver: Receiver) -> None:
    """Commit events while another program has the database's lock."""
    await service.start()
    service.webhook(receiver.url)
    with closing(sqlite3.connect(service.database, isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        ids = [service.commit() for _ in range(10)]
        await until_it_says(service, "the database is locked by another program")
        assert service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NOT NULL") == (0,)
    await each_came_once(service, receiver, ids)


async def test_events_wait_in_postgresql_while_the_database_is_locked(tmp_path: Path, receiver: Receiver) -> None:
    """They were read, and are not marked before they are copied."""
    service = PostgresService(tmp_path / "log.db", new_database())
    try:
        await wait_for_the_database(service, receiver)
    finally:
        await service.close()


async def test_a_mark_before_the_copy_is_found_by_that(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.marks_before_it_copies(monkeypatch)
    with pytest.raises(AssertionError):
        await test_events_wait_in_postgresql_while_the_database_is_locked(tmp_path, receiver)
