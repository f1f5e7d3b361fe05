"""The database in PostgreSQL, whose role has too few connections, or limits of time that are not ours: each is said, and is no loss."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession

from almirant_webhooks.model import Refused
from almirant_webhooks.rules.buckets import BUCKETS
from almirant_webhooks.storage.postgres.lease import Superseded

from ..conftest import Receiver
from ..support.daemons import project_in
from . import postgres_bugs
from . import sharing_bugs as bugs
from .limited import Limited
from .postgres_flow import each_came_once, until_it_says, until_ready

pytestmark = pytest.mark.slow

HALF = BUCKETS // 2


async def test_a_role_without_a_connection_left_is_said_and_its_return_is_noticed(
    limited: Limited, receiver: Receiver
) -> None:
    """A start is refused in words. While it runs, `/readyz`, API and `doctor` say it; what was committed waits."""
    limited.set("CONNECTION LIMIT 0")
    with pytest.raises(Refused, match="too many connections for role"):
        await limited.start(migrating=False)
    limited.set("CONNECTION LIMIT -1")
    base = await limited.serve()
    await limited.until_shared(BUCKETS)
    limited.webhook(receiver.url)
    ids = [limited.commit()]
    await each_came_once(limited, receiver, ids)
    limited.set("CONNECTION LIMIT 0")
    limited.end_sessions()
    ids.append(limited.commit())
    await until_it_says(limited, "too many connections")
    headers = {"Authorization": f"Bearer {limited.keys().token}"}
    async with ClientSession(base, headers=headers) as client:
        async with client.get("/readyz") as answer:
            assert answer.status == 503
            assert "too many connections" in (await answer.json())["reason"]
        async with client.get("/api/v1/webhooks") as answer:
            assert answer.status == 503
            assert "The database cannot be used at the moment" in (await answer.json())["detail"]
    said = await asyncio.to_thread(limited.shell().ours, "doctor", code=1)
    assert "PostgreSQL takes no connection" in said
    assert "too many connections for role" in said
    assert len(receiver.requests) == 1
    limited.set("CONNECTION LIMIT -1")
    await each_came_once(limited, receiver, ids)
    await until_ready(limited)


async def cut_off_deliveries(limited: Limited, receiver: Receiver, within: float = 60) -> None:
    """Leave one of two daemons the connection alone by which it says that it is alive; then let it connect again."""
    daemon = await limited.start(migrating=False)
    await limited.until_shared(BUCKETS)
    its_url, limited.url = limited.url, limited.unlimited
    await limited.another()
    limited.url = its_url
    (project, _) = [project_in(buckets) for buckets in await limited.until_shared(HALF, HALF)]
    limited.webhook(receiver.url, project=project)
    its_lease = await limited.session_of_lease()
    limited.set("CONNECTION LIMIT 1")
    limited.end_sessions(but=its_lease)
    limited.send(project)
    await until_it_says(limited, "too many connections")
    await limited.until(lambda: limited.states() == [("succeeded", 1)], within)
    await limited.until_shared(BUCKETS)
    limited.set("CONNECTION LIMIT -1")
    await daemon.wait()
    limited.daemon = None
    with pytest.raises(Superseded):
        await daemon.stop()
    assert len(receiver.requests) == 1
    await limited.start(migrating=False)
    await limited.until_shared(HALF, HALF)


async def test_a_daemon_whose_deliveries_have_no_connection_is_taken_over(limited: Limited, receiver: Receiver) -> None:
    """Though it could say that it is alive. It ends with a sentence once it is back, and has its share when it is started again."""
    await cut_off_deliveries(limited, receiver)


async def test_a_daemon_that_keeps_what_it_cannot_deliver_is_found_by_that(
    limited: Limited, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.is_alive_without_deliveries(monkeypatch)
    with pytest.raises(TimeoutError):
        await cut_off_deliveries(limited, receiver, within=20)


async def deliver_with_limits_of_the_role(limited: Limited, receiver: Receiver, within: float = 120) -> None:
    """Have a statement that takes longer than the role's limit."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"):
        limited.set(f"SET {name} = '2s'")
    limited.there.ask("""CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$""")
    limited.there.ask("CREATE TRIGGER sleep BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION sleep()")
    base = await limited.serve()
    limited.webhook(receiver.url)
    ids = [limited.commit()]
    await each_came_once(limited, receiver, ids, within)
    headers = {"Authorization": f"Bearer {limited.keys().token}"}
    async with ClientSession(base, headers=headers) as client, client.get("/api/v1/webhooks") as answer:
        assert answer.status == 200


async def test_limits_of_time_of_the_role_cut_none_of_our_statements(limited: Limited, receiver: Receiver) -> None:
    """Each transaction has its own. A session that rests and is ended for it is made anew."""
    await deliver_with_limits_of_the_role(limited, receiver)


async def test_a_daemon_that_takes_the_limits_of_its_role_is_found_by_that(
    limited: Limited, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_bugs.takes_the_limits_of_its_role(monkeypatch)
    with pytest.raises(TimeoutError):
        await deliver_with_limits_of_the_role(limited, receiver, within=10)
