"""How long pages and API lists take with a long log: first page, deep page and filtered, for the operator and a project's admin."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import aiohttp

from almirant_webhooks import clock
from almirant_webhooks.rules.activity import SPANS
from almirant_webhooks.rules.principals import Role
from almirant_webhooks.storage.sql.selecting import id_at

from ..support import sessions
from ..support.service import Service
from .daemon import scratch
from .lists import BUSY, DAYS, fill
from .table import Figure, Sizes

REACH = 100.0  # milliseconds
_FILTERS = ("state=failed", "status=5xx", "event_type=lead.created", "since=24h", "text=nowhere")


def _paths(webhook: str, new: str, deep: str, delivery: str, event: str) -> Iterator[str]:
    """Pages and lists of a project: `new` is a webhook that was sent nothing, `deep` a place far down the lists."""
    of_webhook = ("/edit", "/delete", "/rotate-secret", "/replay", "/replay?since=24h")
    yield from ("/webhooks", "/webhooks?text=hook", "/webhooks?state=off", "/webhooks/new")
    yield from (f"/webhooks/{webhook}?span={span}" for span in SPANS)
    yield from (f"/webhooks/{webhook}{place}" for place in of_webhook)
    yield from (f"/webhooks/{new}", f"/deliveries/{delivery}", f"/events/{event}", "/events", "/events?before=3000")
    yield from (f"/activity?project=proj_0&span={span}" for span in SPANS)
    yield from ("/event-types", "/rejected", "/tokens", "/audit", "/resends", "/resends/new?state=failed&since=24h")
    for path in ("/deliveries", f"/webhooks/{webhook}/deliveries"):
        yield from (path, f"{path}?before={deep}", *(f"{path}?{one}" for one in _FILTERS))
    yield from ("/api/v1/webhooks", "/api/v1/events", "/api/v1/deliveries", "/api/v1/event-types", "/api/v1/tokens")
    yield from (f"/api/v1/deliveries?{one}" for one in ("state=failed", "status=5xx", "q=nowhere"))
    yield from ("/api/v1/activity?project=proj_0&span=30d", f"/api/v1/webhooks/{webhook}/activity?span=30d")


async def _beside(address: str, asking: dict[str, str], looking: dict[str, str], repeats: int) -> float:
    """Return the longest that pages of one project take while an operator counts what nobody finds, four times at once."""
    over = asyncio.Event()

    async def count_on(client: aiohttp.ClientSession) -> None:
        while not over.is_set():
            async with client.get("/resends/new?cause=nowhere") as answer:
                await answer.read()

    took = []
    async with (
        aiohttp.ClientSession(address, headers=asking) as one,
        aiohttp.ClientSession(address, headers=looking) as other,
    ):
        counting = [asyncio.create_task(count_on(one)) for _ in range(4)]
        for path in ("/webhooks", "/deliveries", "/events", "/resends/new?state=failed&since=1h") * 5 * repeats:
            before = time.perf_counter()
            async with other.get(path) as answer:
                await answer.read()
                assert answer.status == 200, (path, answer.status)
            took.append((time.perf_counter() - before) * 1000)
        over.set()
        await asyncio.gather(*counting)
    return max(took)


async def _measure(count: int, repeats: int) -> tuple[list[tuple[str, float]], float]:
    """Return for each page and list the median of its milliseconds, and the longest beside counts of resends."""
    found: list[tuple[str, float]] = []
    with scratch() as bench:
        ids = fill(bench, count)
        deep = id_at(clock.now() - timedelta(days=DAYS - 1))
        service = Service(bench.database)
        service.options["admin"] = {"listen": "127.0.0.1:0"}
        new = service.webhook("https://receiver.example/new", project="proj_0").id
        with closing(sqlite3.connect(bench.database)) as conn:
            delivery, event = conn.execute(
                "SELECT id, event_id FROM deliveries WHERE webhook_id = ? ORDER BY id DESC LIMIT 1", (ids[BUSY],)
            ).fetchone()
        daemon = await service.start()
        assert daemon.address is not None
        address = f"http://127.0.0.1:{daemon.address[1]}"
        cookies = []
        for who, project in ((Role.OPERATOR, None), (Role.PROJECT_ADMIN, "proj_0")):
            cookie = sessions.cookie(service, project)
            cookies.append(cookie)
            async with aiohttp.ClientSession(address, headers=cookie) as client:
                for path in _paths(ids[BUSY], new, deep, delivery, event):
                    took = []
                    for _ in range(repeats):
                        before = time.perf_counter()
                        async with client.get(path) as answer:
                            await answer.read()
                            assert answer.status == 200, (path, answer.status)
                        took.append((time.perf_counter() - before) * 1000)
                    found.append((f"{who.value}: {path}", statistics.median(took)))
        beside = await _beside(address, cookies[0], cookies[1], repeats)
        await service.close()
    return found, beside


def figures(sizes: Sizes) -> list[Figure]:
    """Return the slowest page or list with 1,000,000 deliveries in the log."""
    count = sizes.of(1_000_000, 2_000)
    found, beside = asyncio.run(_measure(count, sizes.of(7, 2)))
    name, slowest = max(found, key=lambda one: one[1])
    middle = statistics.median(took for _, took in found)
    return [
        Figure(
            f"{len(found)} pages and API lists with {count:,} deliveries",
            f"slowest {slowest:.0f} ms ({name})",
            f"median of them {middle:.0f} ms",
            f"each < {REACH:.0f} ms",
            slowest < REACH,
        ),
        Figure(
            f"a project's pages beside four counts of resends over {count:,} deliveries",
            f"slowest {beside:.0f} ms",
            "",
            f"each < {2 * REACH:.0f} ms",
            beside < 2 * REACH,
        ),
    ]
