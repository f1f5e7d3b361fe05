"""Statements that are sent together, of which one fails: the connection is ended, nothing of the batch is there, and all goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.engine import OutboxRow, StorageError
from almirant_webhooks.storage.postgres import stores
from almirant_webhooks.storage.postgres.database_session import DatabaseSession
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.sql.fanout import fan_out

from ...conftest import Receiver
from ...faults.postgres_flow import each_came_once
from ...support.daemons import Daemons

# The first time, by a number that no rollback takes back.
FAILURES = {
    "a number that is there twice": "INSERT INTO twice VALUES (1), (1)",
    "a statement that takes too long": "PERFORM pg_sleep(60)",
    "a session that somebody ends": "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60)",
}
FAILS = """
CREATE SEQUENCE times; CREATE TABLE twice (number int PRIMARY KEY);
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF nextval('times') = 1 THEN {how}; END IF; RETURN NEW; END $$;
CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail()
"""
THERE = """
SELECT e.project_id, count(DISTINCT e.seq), count(d.id) FROM events e LEFT JOIN deliveries d ON d.event_seq = e.seq
GROUP BY 1 ORDER BY 1
"""
each_failure = pytest.mark.parametrize("how", FAILURES)


@pytest.fixture
def two(daemons: Daemons) -> Iterator[tuple[DatabaseSession, DatabaseSession]]:
    with closing(daemons.session()) as one, closing(daemons.session()) as other:
        yield one, other


def let_fail(daemons: Daemons, table: str, how: str) -> None:
    daemons.there.ask(FAILS.format(table=table, how=FAILURES[how]))


def take(session: DatabaseSession, project: str) -> None:
    """Fan out two events of a project, inside a transaction."""
    rows = [OutboxRow(n, f"{project}-{n}", project, "a.b", clock.text(clock.now()), 2, "{}", True) for n in range(2)]
    fan_out(session, rows, timedelta(0), clock.now())


@pytest.mark.long
@each_failure
@pytest.mark.parametrize("table", ["events", "deliveries"])
def test_a_batch_that_fails_leaves_nothing_and_the_one_beside_it_is_whole(
    daemons: Daemons,
    two: tuple[DatabaseSession, DatabaseSession],
    table: str,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its connection is ended: what the server skipped, the driver would take for prepared. The next try makes another one."""
    for project in ("one", "other"):
        daemons.webhook("https://example.com/in", project=project)
    let_fail(daemons, table, how)
    one, other = two
    ours, theirs = (stores.PostgresDeliveryStore(Inside(keep=False)) for _ in two)
    with theirs.transaction(other):
        monkeypatch.setattr(stores, "STATEMENT", 1.0)
        with pytest.raises(StorageError), ours.transaction(one):
            take(one, "one")
        assert one.is_lost
        take(other, "other")
    assert daemons.there.ask(THERE) == [("other", 2, 2)]
    assert not other.is_lost
    with ours.transaction(one):
        take(one, "one")
    assert daemons.there.ask(THERE) == [("one", 2, 2), ("other", 2, 2)]


@pytest.mark.slow
@each_failure
@pytest.mark.parametrize("table", ["events", "deliveries", "attempts"])
async def test_a_daemon_does_a_batch_that_failed_once_more(
    daemons: Daemons, receiver: Receiver, table: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is recorded is what was sent: each event once."""
    monkeypatch.setattr(stores, "STATEMENT", 1.0)
    daemons.webhook(receiver.url)
    await daemons.start(migrating=False)
    first = daemons.insert()
    await each_came_once(daemons, receiver, first)
    await asyncio.to_thread(let_fail, daemons, table, how)
    await each_came_once(daemons, receiver, first + daemons.insert({"n": 1}, {"n": 2}, {"n": 3}))
    assert daemons.there.ask("SELECT last_value > 1 FROM times") == [(True,)]
