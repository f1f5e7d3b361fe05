"""The database in PostgreSQL, whose role has too few connections, or limits of time that are not ours: each is said, and is no loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from almirant_webhooks.model import Refused
from almirant_webhooks.rules.buckets import BUCKETS
from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, open_database
from almirant_webhooks.storage.postgres.lease import Superseded

from ..conftest import Receiver
from ..support.daemons import Daemons, project_in
from ..support.postgres_roles import make_role
from . import postgres_bugs
from . import sharing_bugs as bugs
from .postgres_flow import each_came_once, until_it_says, until_ready

pytestmark = pytest.mark.slow

HALF = BUCKETS // 2
_OF_ROLE = "FROM pg_stat_activity WHERE usename = %s"
END = f"SELECT pg_terminate_backend(pid) {_OF_ROLE} AND pid <> %s"
WAITS = f"SELECT pid {_OF_ROLE} AND wait_event_type = 'Lock' AND query LIKE '%%UPDATE daemons SET seen_at%%'"


class Limited(Daemons):
    """A daemon whose role an administrator limits; another one beside it has a role of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.migrate()
        self.role = make_role(self.there, "daemon")
        self.there.ask(f"GRANT postgres TO {self.role}")
        self.unlimited, self.url = self.url, self.there.server.url(self.there.database, self.role)

    def set(self, words: str) -> None:
        self.there.ask(f"ALTER ROLE {self.role} {words}")

    def limited_session(self) -> DatabaseSession:
        """Open a session of the daemon's role."""
        url = parse_postgres_url(self.url)
        assert url is not None
        return open_database(Place(url, self.there.place.schema), self.seals)

    def end_sessions(self, but: int = 0) -> None:
        self.there.ask(END, self.role, but)

    async def session_of_lease(self) -> int:
        """The process of the session by which the daemon says that it is alive: it waits for a lock that we have."""
        with self.there.connect() as conn:
            conn.execute("LOCK TABLE daemons IN SHARE MODE")
            await self.until(lambda: self.there.ask(WAITS, self.role))
            return int(self.there.ask(WAITS, self.role)[0][0])


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Limited]:
    """A database with no daemon yet."""
    there = Limited(tmp_path)
    yield there
    await there.close()


async def test_a_role_without_a_connection_left_is_said_and_its_return_is_noticed(
    service: Limited, receiver: Receiver
) -> None:
    """A start is refused in words. While it runs, `/readyz`, API and `doctor` say it; what was committed waits."""
    service.set("CONNECTION LIMIT 0")
    with pytest.raises(Refused, match="too many connections for role"):
        await service.start(migrating=False)
    service.set("CONNECTION LIMIT -1")
    base = await service.serve()
    await service.until_shared(BUCKETS)
    service.webhook(receiver.url)
    ids = [service.commit()]
    await each_came_once(service, receiver, ids)
    service.set("CONNECTION LIMIT 0")
    service.end_sessions()
    ids.append(service.commit())
    await until_it_says(service, "too many connections")
    headers = {"Authorization": f"Bearer {service.keys().token}"}
    async with ClientSession(base, headers=headers) as client:
        async with client.get("/readyz") as answer:
            assert answer.status == 503
            assert "too many connections" in (await answer.json())["reason"]
        async with client.get("/api/v1/webhooks") as answer:
            assert answer.status == 503
            assert "The database cannot be used at the moment" in (await answer.json())["detail"]
    said = await asyncio.to_thread(service.shell().ours, "doctor", code=1)
    assert "PostgreSQL cannot be reached" in said
    assert "too many connections for role" in said
    assert len(receiver.requests) == 1
    service.set("CONNECTION LIMIT -1")
    await each_came_once(service, receiver, ids)
    await until_ready(service)


async def cut_off_deliveries(service: Limited, receiver: Receiver, within: float = 60) -> None:
    """Leave one of two daemons the connection alone by which it says that it is alive; then let it connect again."""
    daemon = await service.start(migrating=False)
    await service.until_shared(BUCKETS)
    limited, service.url = service.url, service.unlimited
    await service.another()
    service.url = limited
    (project, _) = [project_in(buckets) for buckets in await service.until_shared(HALF, HALF)]
    service.webhook(receiver.url, project=project)
    its_lease = await service.session_of_lease()
    service.set("CONNECTION LIMIT 1")
    service.end_sessions(but=its_lease)
    service.send(project)
    await until_it_says(service, "too many connections")
    await service.until(lambda: service.states() == [("succeeded", 1)], within)
    await service.until_shared(BUCKETS)
    service.set("CONNECTION LIMIT -1")
    await daemon.wait()
    service.daemon = None
    with pytest.raises(Superseded):
        await daemon.stop()
    assert len(receiver.requests) == 1
    await service.start(migrating=False)
    await service.until_shared(HALF, HALF)


async def test_a_daemon_whose_deliveries_have_no_connection_is_taken_over(service: Limited, receiver: Receiver) -> None:
    """Though it could say that it is alive. It ends with a sentence once it is back, and has its share when it is started again."""
    await cut_off_deliveries(service, receiver)


async def test_a_daemon_that_keeps_what_it_cannot_deliver_is_found_by_that(
    service: Limited, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.is_alive_without_deliveries(monkeypatch)
    with pytest.raises(TimeoutError):
        await cut_off_deliveries(service, receiver, within=20)


async def deliver_with_limits_of_the_role(service: Limited, receiver: Receiver, within: float = 120) -> None:
    """Have a statement that takes longer than the role's limit."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"):
        service.set(f"SET {name} = '2s'")
    service.there.ask("""CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$""")
    service.there.ask("CREATE TRIGGER sleep BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION sleep()")
    base = await service.serve()
    service.webhook(receiver.url)
    ids = [service.commit()]
    await each_came_once(service, receiver, ids, within)
    headers = {"Authorization": f"Bearer {service.keys().token}"}
    async with ClientSession(base, headers=headers) as client, client.get("/api/v1/webhooks") as answer:
        assert answer.status == 200


async def test_limits_of_time_of_the_role_cut_none_of_our_statements(service: Limited, receiver: Receiver) -> None:
    """Each transaction has its own. A session that rests and is ended for it is made anew."""
    await deliver_with_limits_of_the_role(service, receiver)


async def test_a_daemon_that_takes_the_limits_of_its_role_is_found_by_that(
    service: Limited, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_bugs.takes_the_limits_of_its_role(monkeypatch)
    with pytest.raises(TimeoutError):
        await deliver_with_limits_of_the_role(service, receiver, within=10)
