"""Many write to a database in PostgreSQL at the same time, and one reads for long: nothing is lost, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from almirant_webhooks.rules.buckets import BUCKETS

from ..conftest import Receiver
from ..support.daemons import PROGRAM, Daemons
from . import sharing_bugs as bugs

DAEMONS = 3
PRODUCERS = 10
EACH = 200  # events
CHANGES = 60  # of webhooks, meanwhile
INSERT = (
    "INSERT INTO outbox (project_id, event_type, payload) VALUES (%s, 'work_item.created', '{}') RETURNING event_id"
)

pytestmark = pytest.mark.slow


async def produce_without_a_rest(daemons: Daemons, receiver: Receiver, *program: str, within: float = 120) -> None:
    """Have ten producers beside three daemons, somebody who makes webhooks, and a transaction that keeps dead rows in all tables."""
    for number in range(PRODUCERS):
        daemons.webhook(receiver.url, project=f"proj_{number}")
    for _ in range(DAEMONS):
        await daemons.another(command=program or (str(PROGRAM),))
    await daemons.until(lambda: daemons.is_shared_by(DAEMONS))
    with closing(daemons.there.connect()) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert reader.execute("SELECT count(*) FROM outbox").fetchone() == (0,)

        def produce(number: int) -> list[str]:
            with daemons.there.connect(autocommit=True) as conn:
                rows = (conn.execute(INSERT, [f"proj_{number}"]).fetchone() for _ in range(EACH))
                return [event for row in rows if row for event in row]

        def make_webhooks() -> None:
            for number in range(CHANGES):
                daemons.webhook("http://127.0.0.1:9/", project=f"other_{number}")

        with ThreadPoolExecutor(PRODUCERS + 1) as pool:
            run = asyncio.get_running_loop().run_in_executor
            changing = run(pool, make_webhooks)
            committed = [
                event
                for ids in await asyncio.gather(*(run(pool, produce, n) for n in range(PRODUCERS)))
                for event in ids
            ]
            await changing
        done = "SELECT (SELECT count(*) FROM outbox), count(*), sum(attempts) FROM deliveries WHERE state = 'succeeded'"
        await daemons.until(lambda: daemons.ask(done) == (0, PRODUCERS * EACH, PRODUCERS * EACH), within)
        assert reader.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    assert Counter(json.loads(request.body)["id"] for request in receiver.requests) == Counter(committed)
    assert sum(len(buckets) for buckets in daemons.shares().values()) == BUCKETS


async def test_ten_producers_beside_three_daemons_and_a_reader_that_stays_lose_nothing(
    daemons: Daemons, receiver: Receiver
) -> None:
    """Whatever the order is in which their transactions end."""
    await produce_without_a_rest(daemons, receiver)


async def test_an_id_watermark_is_found_by_that(daemons: Daemons, receiver: Receiver) -> None:
    """What commits late would be lost."""
    with pytest.raises(TimeoutError):
        await produce_without_a_rest(daemons, receiver, *bugs.program_with(bugs.reads_behind_the_largest_id), within=10)
    assert receiver.requests
