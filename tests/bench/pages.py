"""How long pages and API lists take with a long log: first page, deep page and filtered, for the operator and a project's admin."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

import aiohttp

from almirant_webhooks import clock
from almirant_webhooks.ops.keys import Keys
from almirant_webhooks.rules import principals
from almirant_webhooks.rules.principals import Principal, Role
from almirant_webhooks.storage.sqlite.selecting import id_at
from almirant_webhooks.web.guard import COOKIE

from ..support.service import Service
from .daemon import scratch
from .lists import BUSY, DAYS, fill
from .table import Figure, Sizes

REACH = 100.0  # milliseconds
_FILTERS = ("state=failed", "status=5xx", "event_type=lead.created", "since=24h", "text=nowhere")


def _paths(webhook: str, deep: str) -> Iterator[str]:
    yield from ("/webhooks", f"/webhooks/{webhook}", f"/webhooks/{webhook}/delete", "/events", "/events?before=3000")
    for path in ("/deliveries", f"/webhooks/{webhook}/deliveries"):
        yield from (path, f"{path}?before={deep}", *(f"{path}?{one}" for one in _FILTERS))
    yield from ("/api/v1/webhooks", "/api/v1/events", "/api/v1/deliveries")
    yield from (f"/api/v1/deliveries?{one}" for one in ("state=failed", "status=5xx", "q=nowhere"))


async def _measure(count: int, repeats: int) -> list[tuple[str, float]]:
    """Return for each page and list the median of its milliseconds."""
    found: list[tuple[str, float]] = []
    with scratch() as bench:
        ids = fill(bench, count)
        deep = id_at(clock.now() - timedelta(days=DAYS - 1))
        service = Service(bench.database)
        service.options["admin"] = {"listen": "127.0.0.1:0"}
        daemon = await service.start()
        assert daemon.address is not None
        key = Keys(service.settings()).signing_key
        for who in (
            Principal(Role.OPERATOR, None, 4_000_000_000),
            Principal(Role.PROJECT_ADMIN, "proj_0", 4_000_000_000),
        ):
            cookie = {"Cookie": f"{COOKIE}={principals.issue(key, principals.SESSION, who)}"}
            async with aiohttp.ClientSession(f"http://127.0.0.1:{daemon.address[1]}", headers=cookie) as client:
                for path in _paths(ids[BUSY], deep):
                    took = []
                    for _ in range(repeats):
                        before = time.perf_counter()
                        async with client.get(path) as answer:
                            await answer.read()
                            assert answer.status == 200, (path, answer.status)
                        took.append((time.perf_counter() - before) * 1000)
                    found.append((f"{who.role.value}: {path}", statistics.median(took)))
        await service.close()
    return found


def figures(sizes: Sizes) -> list[Figure]:
    """Return the slowest page or list with 1,000,000 deliveries in the log."""
    count = sizes.of(1_000_000, 2_000)
    found = asyncio.run(_measure(count, sizes.of(7, 2)))
    name, slowest = max(found, key=lambda one: one[1])
    middle = statistics.median(took for _, took in found)
    return [
        Figure(
            f"{len(found)} pages and API lists with {count:,} deliveries",
            f"slowest {slowest:.0f} ms ({name})",
            f"median of them {middle:.0f} ms",
            f"each < {REACH:.0f} ms",
            slowest < REACH,
        )
    ]
