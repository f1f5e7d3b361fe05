"""Limits of time that a role in PostgreSQL has of its own, for what is no transaction, and statements of people's that are too slow."""

from __future__ import annotations

from contextlib import closing

import pytest
from aiohttp import ClientSession

from almirant_webhooks.rules.buckets import BUCKETS
from almirant_webhooks.storage.postgres.stores import PostgresCleaningStore

from ..conftest import Receiver
from ..support.daemons import project_in
from .limited import Limited
from .postgres_flow import each_came_once, until_ready

pytestmark = pytest.mark.slow

HALF = BUCKETS // 2
SLOW = """
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER sleep BEFORE INSERT ON webhooks FOR EACH ROW EXECUTE FUNCTION sleep()
"""


async def test_a_daemon_that_is_gone_is_taken_over_though_sessions_may_rest_for_less_than_a_beat(
    limited: Limited, receiver: Receiver
) -> None:
    """The server ends none of ours for that: a watcher whose session is ended each time would watch nobody for long."""
    limited.set("SET idle_session_timeout = '500ms'")
    await limited.start(migrating=False)
    await limited.until_shared(BUCKETS)
    other = await limited.another()
    (_, project) = [project_in(buckets) for buckets in await limited.until_shared(HALF, HALF)]
    limited.webhook(receiver.url, project=project)
    other.kill()
    await other.wait()
    limited.send(project)
    await limited.until(lambda: limited.states() == [("succeeded", 1)])
    await limited.until_shared(BUCKETS)
    await until_ready(limited)
    assert len(receiver.requests) == 1


def test_what_was_erased_is_vacuumed_though_a_statement_of_the_role_may_take_less_than_that_takes(
    limited: Limited,
) -> None:
    """A VACUUM is no transaction that could have a limit of ours; this one takes most of a second."""
    for setting in ("statement_timeout = '200ms'", "vacuum_cost_delay = '20ms'", "vacuum_cost_limit = 20"):
        limited.set(f"SET {setting}")
    filled = "INSERT INTO rejected SELECT n, repeat('x', 5000) FROM generate_series(1, 3000) n"
    limited.there.ask("CREATE TABLE rejected (number int, text text)")
    limited.there.ask(filled)
    limited.there.ask("DELETE FROM rejected")
    with closing(limited.limited_session()) as session:
        assert session.vacuum_tables("rejected") is True
        assert PostgresCleaningStore().empty_outbox_wal(session) is True


async def test_a_statement_of_people_s_that_takes_too_long_is_told_as_that(
    limited: Limited, receiver: Receiver
) -> None:
    """503, and not that somebody has locked the database; nothing was changed, and deliveries go on."""
    base = await limited.serve()
    limited.webhook(receiver.url)
    limited.there.ask(SLOW)
    headers = {"Authorization": f"Bearer {limited.keys().token}"}
    webhook = {"project_id": "p", "url": "https://example.com/in", "events": ["*"]}
    async with (
        ClientSession(base, headers=headers) as client,
        client.post("/api/v1/webhooks", json=webhook) as answer,
    ):
        assert answer.status == 503
        assert (await answer.json())["detail"] == (
            "The database takes too long at the moment; nothing was changed. Try again."
        )
    assert limited.ask("SELECT count(*) FROM webhooks") == (1,)
    await each_came_once(limited, receiver, [limited.commit()])
    await until_ready(limited)
