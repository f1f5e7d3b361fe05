"""Each option is changed while 100 requests are in flight and 10,000 deliveries wait: what the contract says of it holds from then on."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.rules import filters
from almirant_webhooks.storage.engine import ReadPlan
from almirant_webhooks.storage.sql import fanout, webhooks

from ..conftest import Receiver, Request
from ..support.service import Service
from ..support.steps import Steps, transaction

IN_FLIGHT, WAITING, AFTER = 100, 10_000, 10
SENT = 500  # requests after the change that are looked at
INSERT = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'work_item.created', ?)"
ALL = 1 + IN_FLIGHT + WAITING  # the first is delivered: until one is, the daemon makes two requests at a time


class Watched:
    """A receiver that keeps requests but the first until they may end, and notes how many are there at once from then on."""

    def __init__(self, receiver: Receiver) -> None:
        self.may_end = asyncio.Event()
        self.most = 0
        self._here = 0
        self._receiver = receiver
        receiver.answer = self.answer

    async def answer(self, request: web.Request) -> web.Response:
        if not self.may_end.is_set() and len(self._receiver.requests) > 1:
            await self.may_end.wait()
            return web.Response()
        self._here += 1
        self.most = max(self.most, self._here)
        await asyncio.sleep(0)
        self._here -= 1
        return web.Response()

    @property
    def later(self) -> list[Request]:
        """The requests that came after the change."""
        return self._receiver.requests[1 + IN_FLIGHT :]


def numbers(requests: list[Request]) -> list[int]:
    return [json.loads(request.body)["data"]["n"] for request in requests]


def insert(service: Service, begin: int, end: int) -> None:
    """Insert events in one transaction."""
    payloads = [(json.dumps({"n": n, "even": n % 2 == 0}),) for n in range(begin, end)]
    with closing(service.producer()) as conn, conn:
        conn.executemany(INSERT, payloads)


def take_all(steps: Steps) -> None:
    """Fan out all that is in the outbox."""
    rows = steps.unread(ReadPlan(ALL))
    with transaction(steps.conn):
        done = fanout.fan_out(steps.conn, rows, timedelta(0), clock.now(), max_deliveries=ALL)
    steps.mark(done, clock.now())
    assert done.deliveries == ALL


@pytest.fixture
async def service(steps: Steps) -> AsyncIterator[Service]:
    """The daemon on the database of the steps."""
    there = steps.service()
    yield there
    await there.close()


def is_all_taken(service: Service) -> bool:
    return service.ask("SELECT 1 FROM outbox WHERE fanned_out_at IS NULL LIMIT 1") is None


def of_state(service: Service, state: str) -> int:
    query = "SELECT count(*) FROM deliveries WHERE state = ?"
    return int(service.read(lambda conn: conn.execute(query, (state,)).fetchone()[0]))


def filter_(service: Service, watched: Watched) -> None:
    """What waits has its verdict: it is sent. Of what was taken later half is filtered out."""
    query = "SELECT count(*), (SELECT count(*) FROM filtered_out) FROM deliveries"
    assert tuple(service.read(lambda conn: conn.execute(query).fetchone())) == (ALL + AFTER // 2, AFTER // 2)
    assert {number % 2 for number in numbers(watched.later)} == {0, 1}


def template(service: Service, watched: Watched) -> None:
    """The bytes of what waits stay as they were made; what was taken later has its body by the template."""
    assert all(request.body.startswith(b'{"id":') for request in watched.later)
    query = "SELECT count(*), min(body), max(body) FROM rendered_bodies"
    made = tuple(service.read(lambda conn: conn.execute(query).fetchone()))
    assert made == (AFTER, '{"text":"new"}', '{"text":"new"}')


def headers(service: Service, watched: Watched) -> None:
    """The next attempt has them."""
    assert {request.headers.get("X-Team") for request in watched.later} == {"boards"}


def rate_limit(service: Service, watched: Watched) -> None:
    """No more begin within any second, those before the change counted."""
    query = "SELECT started_at FROM attempts ORDER BY started_at, rowid"
    begun = [clock.parse(row[0]) for row in service.read(lambda conn: conn.execute(query).fetchall())]
    for place, at in enumerate(begun[1 + IN_FLIGHT :], 1 + IN_FLIGHT):
        assert place - bisect_left(begun, at - timedelta(seconds=1) + timedelta(milliseconds=1)) < 200


def ordered(service: Service, watched: Watched) -> None:
    """One at a time, the oldest first."""
    assert watched.most == 1
    assert numbers(watched.later) == list(range(1 + IN_FLIGHT, 1 + IN_FLIGHT + len(watched.later)))


def concurrency(service: Service, watched: Watched) -> None:
    """No more at once than it says."""
    assert 1 < watched.most <= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ({"filter": filters.check(["data.even = true"])}, filter_),
        ({"template": '{"text":"new"}'}, template),
        ({"headers": {"X-Team": "boards"}}, headers),
        ({"rate_limit": "200/s"}, rate_limit),
        ({"ordered": True}, ordered),
        ({"concurrency": 3}, concurrency),
    ],
    ids=lambda it: it.__name__ if callable(it) else "",
)
async def test_a_changed_option_holds_for_what_begins_after_it(
    steps: Steps,
    service: Service,
    receiver: Receiver,
    options: dict[str, Any],
    holds: Callable[[Service, Watched], None],
) -> None:
    """What is in flight ends as it began; nothing is lost, and nothing is sent twice."""
    service.options["delivery"] = {"concurrency_per_webhook": IN_FLIGHT, "timeout": "60s"}
    watched = Watched(receiver)
    webhook = service.webhook(receiver.url)
    insert(service, 0, ALL)
    take_all(steps)
    await service.start(migrating=False)
    await service.until(lambda: len(receiver.requests) == 1 + IN_FLIGHT)
    service.write(webhooks.update, webhook.id, options=options, now=clock.now())
    insert(service, ALL, ALL + AFTER)
    await service.until(lambda: is_all_taken(service))
    watched.may_end.set()
    await service.until(lambda: len(watched.later) >= SENT, within=180)
    await service.stop()
    holds(service, watched)
    sent = Counter(request.headers["X-Almirant-Delivery"] for request in receiver.requests)
    assert set(sent.values()) == {1}
    assert of_state(service, "succeeded") + of_state(service, "pending") == service.read(
        lambda conn: conn.execute("SELECT count(*) FROM deliveries").fetchone()[0]
    )
