"""How long pages and API lists take with a long log: first page, deep page and filtered, for the operator and a project's admin."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from almirant_webhooks import access, clock
from almirant_webhooks.access import Principal, Role
from almirant_webhooks.keys import Keys
from almirant_webhooks.web.guard import COOKIE

from ..service import Service
from .table import Figure, Sizes

WEBHOOKS, PROJECTS = 100, 10
BATCH = 20_000
REACH = 100.0  # milliseconds
_FILTERS = ("state=failed", "status=5xx", "event_type=lead.created", "since=24h", "text=nowhere")


def _fill(database: Path, ids: list[str], count: int) -> str:
    """Write deliveries of twenty days, each with its event and attempt; return the id of one deep down."""
    conn = sqlite3.connect(database)
    conn.execute("PRAGMA synchronous=OFF")
    start, step = time.time() - 86_400 * 20, 86_400 * 20 / count
    for first in range(0, count, BATCH):
        events, deliveries, attempts = [], [], []
        for number in range(first, min(count, first + BATCH)):
            moment = start + number * step
            at = clock.text(datetime.fromtimestamp(moment, UTC))
            key, event = f"dlv_{int(moment * 1000):012x}{number:016x}", f"evt_{number:032x}"
            state, status, outcome = (
                ("failed", 500, "http_error") if number % 50 == 0 else ("succeeded", 200, "success")
            )
            events.append(
                (number + 1, event, f"proj_{number % PROJECTS}", "work_item.created", at, at, f'{{"n":{number}}}')
            )
            deliveries.append((key, number + 1, event, ids[number % WEBHOOKS], state, at, str(status)))
            attempts.append((key, at, outcome, status))
        conn.executemany(
            "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            events,
        )
        conn.executemany(
            "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, created_at, last_status, begun, attempts, "
            "tries, last_number) VALUES (?, ?, ?, ?, ?, ?, ?, 1, 1, 1, 1)",
            deliveries,
        )
        conn.executemany(
            "INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, status_code, url, "
            "request_headers) VALUES (?, 1, 'scheduled', ?, 12, ?, ?, 'https://example.com/in', '[]')",
            attempts,
        )
        conn.commit()
    deep = conn.execute("SELECT id FROM deliveries ORDER BY id LIMIT 1 OFFSET ?", (count // 100,)).fetchone()[0]
    conn.close()
    return str(deep)


def _paths(webhook: str, deep: str) -> Iterator[str]:
    yield from ("/webhooks", f"/webhooks/{webhook}", f"/webhooks/{webhook}/delete", "/events", "/events?before=3000")
    for path in ("/deliveries", f"/webhooks/{webhook}/deliveries"):
        yield from (path, f"{path}?before={deep}", *(f"{path}?{one}" for one in _FILTERS))
    yield from ("/api/v1/webhooks", "/api/v1/events", "/api/v1/deliveries")
    yield from (f"/api/v1/deliveries?{one}" for one in ("state=failed", "status=5xx", "q=nowhere"))


async def _measure(count: int, repeats: int) -> list[tuple[str, float]]:
    """Return for each page and list the median of its milliseconds."""
    found: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder) / "long.db")
        service.options["admin"] = {"listen": "127.0.0.1:0"}
        service.migrate()
        ids = [service.webhook("https://example.com/in", project=f"proj_{at % PROJECTS}").id for at in range(WEBHOOKS)]
        deep = _fill(service.database, ids, count)
        daemon = await service.start()
        assert daemon.address is not None
        key = Keys(service.settings()).signing_key
        for who in (
            Principal(Role.OPERATOR, None, 4_000_000_000),
            Principal(Role.PROJECT_ADMIN, "proj_1", 4_000_000_000),
        ):
            cookie = {"Cookie": f"{COOKIE}={access.issue(key, access.SESSION, who)}"}
            async with aiohttp.ClientSession(f"http://127.0.0.1:{daemon.address[1]}", headers=cookie) as client:
                for path in _paths(ids[1], deep):
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
    count = 2_000 if sizes.quick else 1_000_000
    found = asyncio.run(_measure(count, 2 if sizes.quick else 7))
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
