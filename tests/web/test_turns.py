"""A request that is cancelled while it waits keeps neither its project's turn nor a connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from almirant_webhooks.storage.engine import Session
from almirant_webhooks.storage.sqlite.connection import open_reader
from almirant_webhooks.storage.sqlite.reading_store import SqliteReadingStore
from almirant_webhooks.storage.sqlite.worker import Worker
from almirant_webhooks.web.snapshots import Readers, Snapshot

from ..support.service import Service

pytestmark = pytest.mark.sqlite

OWNERS = ("proj_1", "proj_2")


def _one(conn: Session) -> int:
    return int(conn.execute("SELECT 1").fetchone()[0])


async def _begun(task: asyncio.Task[int]) -> None:
    """Let a task come to where it waits: it does nothing before that takes a turn of the loop."""
    await asyncio.sleep(0)
    assert not task.done()


@pytest.fixture
async def readers(service: Service) -> AsyncIterator[Readers]:
    """Two connections, as a daemon has them."""
    service.migrate()
    workers = [await Worker(lambda: open_reader(service.database)).open() for _ in OWNERS]
    yield Readers(SqliteReadingStore(), workers)
    for worker in workers:
        await worker.close()


async def _snapshot(readers: Readers, owner: str) -> Snapshot:
    snapshot = Snapshot(readers)
    await snapshot.belongs_to(owner)
    return snapshot


async def test_one_that_waits_for_a_connection_gives_its_turn_back(readers: Readers) -> None:
    """Both connections are held by others."""
    held = [await _snapshot(readers, owner) for owner in OWNERS]
    for snapshot in held:
        await snapshot.read(_one)
    task = asyncio.create_task((await _snapshot(readers, "proj_3")).read(_one))
    await _begun(task)
    turn = readers.turn_of("proj_3")
    assert not turn.is_free
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert turn.is_free
    for snapshot in held:
        await snapshot.end()
    await _all_is_free(readers, "proj_3")


async def test_one_that_waits_for_its_turn_leaves_it_to_the_next(readers: Readers) -> None:
    """It has never had it."""
    first = await _snapshot(readers, "proj_1")
    await first.read(_one)
    task = asyncio.create_task((await _snapshot(readers, "proj_1")).read(_one))
    await _begun(task)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    turn = readers.turn_of("proj_1")
    assert not turn.is_free
    await first.end()
    assert turn.is_free
    await _all_is_free(readers, "proj_1")


async def test_one_whose_read_is_under_way_gives_both_back_when_it_is_ended(readers: Readers) -> None:
    """The connection is given back once the thread is done with the read."""
    begun, ends = threading.Event(), threading.Event()

    def stay(conn: Session) -> int:
        begun.set()
        ends.wait(60)
        return _one(conn)

    snapshot = await _snapshot(readers, "proj_1")
    task = asyncio.create_task(snapshot.read(stay))
    try:
        assert await asyncio.to_thread(begun.wait, 60)
        task.cancel()
    finally:
        ends.set()
    await asyncio.wait([task])
    await snapshot.end()
    assert readers.turn_of("proj_1").is_free
    await _all_is_free(readers, "proj_1")


async def _all_is_free(readers: Readers, owner: str) -> None:
    """Read once for an owner, and once more beside it on the other connection."""
    both = [await _snapshot(readers, one) for one in (owner, "proj_9")]
    for snapshot in both:
        assert await snapshot.read(_one) == 1
    for snapshot in both:
        await snapshot.end()
