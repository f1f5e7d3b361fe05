"""Rows that batches have taken out of the outbox: the server keeps them until a vacuum, and no read looks at them twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.rules.buckets import bucket_of
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.storage.engine import ReadPlan, StorageError, TriggerFails, Work
from almirant_webhooks.storage.postgres import in_database
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, writing
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.postgres.stores import PostgresDeliveryStore
from almirant_webhooks.storage.postgres.unread import UNREAD

from ...support.daemons import Daemons

ROWS = 300
FILL = "INSERT INTO outbox (project_id, event_type, payload) SELECT 'p', 'a.b', '{}' FROM generate_series(1, %s)"
FIRST = f"""
EXPLAIN (ANALYZE) SELECT id FROM outbox
WHERE {UNREAD} AND outbox_bucket(project_id) = {bucket_of("p")} AND project_id = 'p' ORDER BY id LIMIT 1
"""
REFUSES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF OLD.id = 2 THEN RAISE EXCEPTION 'not this one'; END IF; RETURN coalesce(NEW, OLD); END $$;
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()
"""


@pytest.fixture
def session(daemons: Daemons) -> Iterator[DatabaseSession]:
    with closing(daemons.session()) as session:
        yield session


def take(session: DatabaseSession, store: PostgresDeliveryStore, rows: int = ROWS) -> int:
    """Run a batch that reads so many rows; return how many it took."""
    now = clock.now()
    with store.transaction(session):
        done = store.write(session, Work([], to_read=ReadPlan(rows)), Schedule((timedelta(0),)), now).fan_out
    return 0 if done is None else len(done.marks)


def passed(session: DatabaseSession) -> int:
    """Look for the first row that waits; return how many rows of the table that came to."""
    with writing(session, alone=False):
        lines = [line for (line,) in session.run(FIRST)]
    (found,) = (match for line in lines if (match := re.search(r"Heap Fetches: (\d+)", line)))
    return int(found[1])


async def test_a_read_passes_rows_that_were_taken_once(daemons: Daemons, session: DatabaseSession) -> None:
    """The first read after them has the server forget them; as many as were taken were looked at by each read before."""
    daemons.there.ask(FILL, ROWS)
    assert take(session, PostgresDeliveryStore(Inside(keep=False))) == ROWS
    await daemons.until(lambda: passed(session) == 0)


async def test_a_savepoint_around_what_takes_them_is_found_by_that(
    daemons: Daemons, session: DatabaseSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeded: a row that is locked outside of a savepoint and deleted in it stays in the index until a vacuum."""
    monkeypatch.setattr(Inside, "_may_be_refused", lambda self, session: True)
    daemons.there.ask("ALTER TABLE outbox SET (autovacuum_enabled = false)")
    daemons.there.ask(FILL, ROWS)
    assert take(session, PostgresDeliveryStore(Inside(keep=False))) == ROWS
    assert all(passed(session) > 0 for _ in range(5))


async def test_a_trigger_that_came_a_moment_ago_fails_one_batch_and_no_other(
    daemons: Daemons, session: DatabaseSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of that batch is there; the next one takes the rows that are not refused, and names the trigger."""
    monkeypatch.setattr(in_database, "LOOK", 3600.0)
    store = PostgresDeliveryStore(Inside(keep=False))
    daemons.there.ask(FILL, 1)
    assert take(session, store) == 1  # it has looked for triggers
    daemons.there.ask(REFUSES)
    daemons.there.ask(FILL, 2)
    with pytest.raises(StorageError) as raised:
        take(session, store)
    assert isinstance(raised.value, TriggerFails)
    assert "refuse" in str(raised.value)
    assert daemons.there.ask("SELECT count(*) FROM events") == [(1,)]
    assert take(session, store) == 2
    assert daemons.there.ask(f"SELECT id FROM outbox WHERE {UNREAD}") == [(2,)]
    assert daemons.there.ask("SELECT count(*) FROM events") == [(3,)]
