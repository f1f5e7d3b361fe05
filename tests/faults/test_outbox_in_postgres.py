"""The outbox in an application's PostgreSQL: what is committed there is delivered once, whatever becomes of the server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import search

from ..conftest import Receiver
from ..support.postgres import Server, new_database
from ..support.postgres_service import BESIDE, INSERT, Make, PostgresService

pytestmark = pytest.mark.slow


@pytest.fixture(params=BESIDE)
def make(request: pytest.FixtureRequest) -> Make:
    """Make a service, not started yet, whose outbox is in a database of an application's."""
    return BESIDE[request.param]


@pytest.fixture
async def service(tmp_path: Path, make: Make) -> AsyncIterator[PostgresService]:
    """A daemon, not started yet, with a database on the server that tests share."""
    there = make(tmp_path, new_database())
    yield there
    await there.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may stop."""
    made = Server()
    yield made
    made.remove()


async def test_what_is_committed_is_delivered_and_what_is_rolled_back_is_not(
    service: PostgresService, receiver: Receiver
) -> None:
    """A transaction that began first and commits last is not missed, though later rows were taken meanwhile."""
    await service.start()
    service.webhook(receiver.url)
    with service.there.connect() as late, service.there.connect() as undone:
        (late_event,) = late.execute(INSERT, ['{"n": 1}']).fetchone() or ("",)
        undone.execute(INSERT, ['{"n": 2}'])
        early_event = service.commit('{"n": 3}')
        await service.until(lambda: service.states() == [("succeeded", 1)] and len(receiver.requests) == 1)
        undone.rollback()
        late.commit()
        await service.until(lambda: service.states() == [("succeeded", 1)] * 2)
    await service.until(lambda: service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NOT NULL") == (2,))
    sent = [request.body.decode() for request in receiver.requests]
    assert [event in body for event, body in zip((early_event, late_event), sent, strict=True)] == [True, True]


async def test_a_commit_without_a_notify_is_found_by_the_poll(service: PostgresService, receiver: Receiver) -> None:
    """As behind a pooler in transaction mode."""
    service.options["outbox"] = {"poll_interval": "50ms"}
    service.there.ask("ALTER TABLE outbox DISABLE TRIGGER outbox_inserted")
    await service.start()
    service.webhook(receiver.url)
    service.commit()
    await service.until(lambda: service.states() == [("succeeded", 1)])


async def test_while_the_server_is_away_all_that_the_database_has_is_delivered(
    tmp_path: Path, receiver: Receiver, own_server: Server, make: Make
) -> None:
    """Its return is noticed without anybody's help; what was committed before and after is delivered once."""
    made = new_database(with_outbox=False, its_server=own_server)
    service = make(tmp_path, made)
    service.shell().ours("migrate")
    try:
        await _lose_the_server(service, receiver, own_server)
    finally:
        await service.close()


async def _lose_the_server(service: PostgresService, receiver: Receiver, own_server: Server) -> None:
    daemon = await service.start(migrating=False)
    service.webhook(receiver.url)
    service.commit()
    await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
    own_server.stop()
    await service.until(lambda: "PostgreSQL" in (daemon.not_ready() or ""))
    (row,) = service.read(search.newest, Selection(), limit=10)
    assert service.resend(row["delivery_id"])
    await service.until(lambda: len(receiver.requests) == 2)
    own_server.start()
    service.commit()
    await service.until(lambda: len(receiver.requests) == 3 and service.is_marked())
    await service.until(lambda: daemon.not_ready() is None)
    await service.until(lambda: sorted(service.states()) == [("succeeded", 1), ("succeeded", 2)])


async def test_a_daemon_that_starts_before_the_server_takes_its_rows_once_it_is_there(
    tmp_path: Path, receiver: Receiver, own_server: Server, make: Make
) -> None:
    """It is not ready until then, and says why."""
    made = new_database(with_outbox=False, its_server=own_server)
    service = make(tmp_path, made)
    shell = service.shell()
    shell.ours("migrate")
    service.webhook(receiver.url)
    service.commit()
    own_server.stop()
    try:
        daemon = await service.start(migrating=False)
        await service.until(lambda: "PostgreSQL" in (daemon.not_ready() or ""))
        own_server.start()
        await service.until(lambda: service.states() == [("succeeded", 1)] and daemon.not_ready() is None)
    finally:
        await service.close()


async def test_a_kill_between_the_copy_and_the_mark_sends_nothing_twice(
    tmp_path: Path, receiver: Receiver, make: Make
) -> None:
    """The row is found again, and its event is known."""
    made = new_database()
    service = make(tmp_path, made)
    shell = service.shell()
    shell.ours("migrate")
    service.webhook(receiver.url)
    program = [str(Path(sys.executable).with_name("almirant-webhooks")), "serve", "--config", str(shell.config)]
    with made.connect() as locks:
        service.commit()
        locks.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")  # reads go on, marks wait
        first = subprocess.Popen(program, stderr=subprocess.DEVNULL)
        try:
            await service.until(lambda: service.states() == [("succeeded", 1)])
        finally:
            first.kill()
            first.wait()
    assert not service.is_marked()
    second = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    try:
        await service.until(service.is_marked)
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait()
    assert (len(receiver.requests), service.states()) == (1, [("succeeded", 1)])
    await service.close()


async def test_a_row_that_a_trigger_refuses_to_mark_keeps_no_other_from_being_marked(
    service: PostgresService, receiver: Receiver
) -> None:
    """And is sent once."""
    service.there.ask("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.payload LIKE '%%bad%%' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$""")
    service.there.ask("CREATE TRIGGER refuse BEFORE UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()")
    await service.start()
    service.webhook(receiver.url)
    with service.there.connect() as conn:
        for payload in ('{"n": "good"}', '{"n": "bad"}', '{"n": "good"}'):
            conn.execute(INSERT, [payload])
    await service.until(lambda: service.states() == [("succeeded", 1)] * 3)
    await service.until(lambda: service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NOT NULL") == (2,))
    assert len(receiver.requests) == 3


async def test_a_row_that_the_application_keeps_locked_is_in_no_other_s_way(
    service: PostgresService, receiver: Receiver
) -> None:
    """All are sent; it is marked later."""
    for _ in range(3):
        service.commit()
    with service.there.connect() as application:
        application.execute("SELECT FROM outbox WHERE id = 2 FOR UPDATE")
        await service.start()
        service.webhook(receiver.url)
        await service.until(lambda: service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NOT NULL") == (2,))
    service.commit()
    await service.until(lambda: service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NOT NULL") == (3,))


RIGHTS = """
CREATE ROLE {role} LOGIN;
GRANT USAGE ON SCHEMA almirant_webhooks TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON almirant_webhooks.outbox, almirant_webhooks.outbox_meta TO {role}
"""


async def test_a_role_with_the_rights_of_the_docs_can_do_all_of_it(
    tmp_path: Path, receiver: Receiver, make: Make
) -> None:
    """And while the server is read-only, or has no connection for it, the daemon says so and then goes on by itself."""
    made = new_database()
    role = f"daemon_of_{made.database}"
    made.ask(RIGHTS.format(role=role))
    service = make(tmp_path, made)
    service.url = made.server.url(made.database, role)
    end_sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    try:
        daemon = await service.start()
        service.webhook(receiver.url)
        service.commit()
        await service.until(lambda: service.is_marked() and len(receiver.requests) == 1)
        for trouble, words, over in (
            (f"ALTER ROLE {role} SET default_transaction_read_only = on", "read-only", f"ALTER ROLE {role} RESET ALL"),
            (f"ALTER ROLE {role} CONNECTION LIMIT 0", "too many connections", f"ALTER ROLE {role} CONNECTION LIMIT -1"),
            (f"REVOKE UPDATE ON outbox FROM {role}", "lacks a right", f"GRANT UPDATE ON outbox TO {role}"),
        ):
            before = len(receiver.requests)
            made.ask(trouble)
            made.ask(end_sessions)
            service.commit()
            await service.until(lambda words=words: words in (daemon.not_ready() or ""))  # type: ignore[misc]
            made.ask(over)
            await service.until(lambda before=before: service.is_marked() and len(receiver.requests) > before)  # type: ignore[misc]
            await service.until(lambda: daemon.not_ready() is None)
    finally:
        await service.close()
    assert len(receiver.requests) == 4


async def test_the_api_inserts_there_and_shows_what_was_rejected(service: PostgresService) -> None:
    """As the commands do."""
    service.there.ask("ALTER TABLE outbox DROP CONSTRAINT outbox_event_type")
    service.there.ask("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'Bad', '{}')")
    base = await service.serve()
    headers = {"Authorization": f"Bearer {service.keys().token}"}
    event = {"project_id": "proj_1", "event_type": "lead.created", "payload": {"n": 1}, "event_id": "e-1"}
    async with aiohttp.ClientSession(base, headers=headers) as client:
        async with client.post("/api/v1/events", json=event) as answer:
            assert (answer.status, await answer.json()) == (202, {"event_id": "e-1"})
        async with client.post("/api/v1/events", json={**event, "payload": {"n": 2}}) as answer:
            assert answer.status == 409
        await service.until(service.is_marked)
        async with client.get("/rejected") as page:
            assert page.status == 200
            assert "Bad" in await page.text()
    assert service.ask("SELECT payload FROM outbox WHERE event_id = 'e-1'") == ('{"n": 1}',)
