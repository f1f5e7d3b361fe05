"""Who writes to a database in PostgreSQL at the same time, and who alone: all get its lock in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.engine import Busy, OutboxRow, Slow, StorageError
from almirant_webhooks.storage.postgres.database_session import WRITERS, DatabaseSession, writing
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.postgres.stores import PostgresDeliveryStore
from almirant_webhooks.storage.sql.fanout import fan_out

from ...support.daemons import Daemons

WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
NUMBERS = "SELECT project_id, seq FROM events ORDER BY seq"
LARGEST = """
SELECT json_group_array(json_array(coalesce((SELECT max(seq) FROM events), 0) + 1 + CAST(v.key AS INTEGER)))
FROM json_each(?2) v
"""


@pytest.fixture
def two(daemons: Daemons) -> Iterator[tuple[DatabaseSession, DatabaseSession]]:
    with closing(daemons.session()) as one, closing(daemons.session()) as other:
        yield one, other


def take(session: DatabaseSession, project: str, count: int) -> None:
    """Fan out events of a project, inside a transaction."""
    rows = [
        OutboxRow(n, f"{project}-{n}", project, "a.b", clock.text(clock.now()), 2, "{}", True) for n in range(count)
    ]
    assert fan_out(session, rows, timedelta(0), clock.now()).events == count


def take_beside_each_other(sessions: tuple[DatabaseSession, DatabaseSession]) -> None:
    """Fan out in two batches, of which the one that began first commits last."""
    one, other = sessions
    store = PostgresDeliveryStore(Inside(keep=False))
    with store.transaction(one):
        take(one, "one", 2)
        with PostgresDeliveryStore(Inside(keep=False)).transaction(other):
            take(other, "other", 2)
        take(one, "third", 1)


async def test_who_asks_for_the_lock_first_has_it_first(daemons: Daemons) -> None:
    """A writer that asks again and again, as the delivery loop does, comes behind one that waits."""
    order = []

    def write(name: str) -> None:
        with closing(daemons.session()) as session, writing(session):
            order.append(name)

    with closing(daemons.session()) as session:
        with writing(session, alone=False):
            waiting = asyncio.create_task(asyncio.to_thread(write, "who waited"))
            await daemons.until(lambda: daemons.there.ask(WAITS, WRITERS) == [(1,)])
        with writing(session, alone=False):
            order.append("who asked again")
    await waiting
    assert order == ["who waited", "who asked again"]


async def test_batches_are_written_beside_each_other_and_each_event_has_a_number_of_its_own(
    daemons: Daemons, two: tuple[DatabaseSession, DatabaseSession]
) -> None:
    """What the other has not committed yet cannot be seen. Events of one project are numbered in their order."""
    take_beside_each_other(two)
    assert daemons.there.ask(NUMBERS) == [
        ("one", 1),
        ("one", 2),
        ("other", 3),
        ("other", 4),
        ("third", 5),
    ]


async def test_numbers_behind_the_largest_that_is_seen_are_found_out(
    two: tuple[DatabaseSession, DatabaseSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seeded bug: a file is numbered so, where one writes at a time. Two events would have one number."""
    monkeypatch.setattr(DatabaseSession, "event_numbers", LARGEST)
    monkeypatch.setattr("almirant_webhooks.storage.postgres.stores.STATEMENT", 1.0)
    with pytest.raises(StorageError, match="events_pkey"):
        take_beside_each_other(two)


def test_a_lock_of_somebody_else_s_is_told_as_a_lock_and_not_as_slowness(daemons: Daemons) -> None:
    """The wait for it ends before the limit of the statement that waits does."""
    with daemons.there.connect() as other, closing(daemons.session()) as session:
        other.execute("LOCK TABLE webhooks")
        with pytest.raises(Busy) as raised, writing(session, wait=5.0, statement=0.5):
            session.execute("UPDATE webhooks SET description = 'new'")
        assert not isinstance(raised.value, Slow)


async def test_a_command_writes_while_no_batch_is_written(
    daemons: Daemons, two: tuple[DatabaseSession, DatabaseSession]
) -> None:
    """It waits for all of them, and those that come after it wait for it."""
    order = []

    def write() -> None:
        with closing(daemons.session()) as session, writing(session):
            order.append("the command")

    def take_later() -> None:
        with closing(daemons.session()) as session, writing(session, alone=False):
            order.append("a later batch")

    with ExitStack() as stack:
        for session in two:
            stack.enter_context(writing(session, alone=False))
        command = asyncio.create_task(asyncio.to_thread(write))
        await daemons.until(lambda: daemons.there.ask(WAITS, WRITERS) == [(1,)])
        later = asyncio.create_task(asyncio.to_thread(take_later))
        await daemons.until(lambda: daemons.there.ask(WAITS, WRITERS) == [(2,)])
        order.append("both batches")
    await command
    await later
    assert order == ["both batches", "the command", "a later batch"]
