"""`Worker`: a session on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from almirant_webhooks.storage.engine import Damaged, Session, StorageError, Work
from almirant_webhooks.storage.worker import Worker

from .engines import SCHEDULE, START, Engine


@pytest.fixture
async def worker(engine: Engine) -> AsyncIterator[Worker]:
    opened = await engine.worker().open()
    yield opened
    await opened.close()


async def test_functions_are_called_in_one_thread_in_their_order(worker: Worker) -> None:
    """The one of the session, which is not the caller's."""
    calls: list[int] = []

    def note(_: Session, number: int) -> int:
        calls.append(number)
        return threading.get_ident()

    threads = await asyncio.gather(*(worker.run(note, number) for number in range(20)))
    assert calls == list(range(20))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_what_goes_wrong_is_an_engine_s_error(engine: Engine, worker: Worker) -> None:
    """For who reads and for who writes."""
    engine.drop_tables()
    with pytest.raises(Damaged):
        await worker.run(engine.deliveries.revision)
    with pytest.raises(StorageError):
        await worker.write(engine.deliveries.write, Work(), SCHEDULE, START)
    assert worker.is_alive


async def test_a_write_is_one_transaction(engine: Engine, worker: Worker) -> None:
    """What raises has changed nothing."""
    engine.webhook()
    engine.insert()
    engine.take()
    webhooks, _ = engine.deliveries.first_due_after(engine.session, "", 1)

    def claim_and_fail(session: Session) -> None:
        begun = engine.deliveries.write(session, Work(starts={webhooks[0]: 1}), SCHEDULE, START).begun
        assert len(begun) == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await worker.write(claim_and_fail)
    written = await worker.write(engine.deliveries.write, Work(starts={webhooks[0]: 1}), SCHEDULE, START)
    assert len(written.begun) == 1


async def test_steps_are_taken_until_they_are_ended(worker: Worker) -> None:
    """Whenever it is woken; one that raises is told of, and not taken again."""
    taken, died = asyncio.Event(), asyncio.get_running_loop().create_future()
    loop, count = asyncio.get_running_loop(), 0

    def step(_: Session) -> float:
        nonlocal count
        count += 1
        loop.call_soon_threadsafe(taken.set)
        if count == 3:
            raise ZeroDivisionError
        return 3600.0

    worker.take_steps(step, died.set_result)
    for _ in range(2):
        await taken.wait()
        taken.clear()
        worker.wake()
    assert isinstance(await died, ZeroDivisionError)
    worker.wake()
    await worker.end_steps()
    assert count == 3
