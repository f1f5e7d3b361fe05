"""How long pages and API lists take with a long log, for the operator and a project's admin, and beside what another project asks for.

Each page is asked for alone, first page, deep page and filtered. Then the pages of one project are asked for while somebody
else asks, four times at once and again and again, for what is the dearest of its kind.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext
from datetime import timedelta
from typing import NamedTuple

import aiohttp

from almirant_webhooks import clock
from almirant_webhooks.rules.activity import SPANS
from almirant_webhooks.storage.sql.selecting import id_at

from ..support import sessions
from ..support.service import Service
from .daemon import Bench, scratch
from .lists import BUSY, DAYS, DISABLED, fill
from .table import Figure, Sizes

REACH = 100.0  # milliseconds
AT_ONCE = 4
COMPILED = 8.0  # seconds after the first page in which the daemon has compiled its templates
RESEND = "rsd_bench"
LARGE = "evt_large"
ATTEMPTS = 1_000
LARGEST = 250 * 1024  # bytes of a payload, nearly as many as one may have
_FILTERS = (
    "state=failed", "status=5xx", "event_type=lead.created", "event_type=lead.*", "since=24h", "text=nowhere", "cause=nowhere",
    "count=1", "count=1&text=nowhere",
)  # fmt: skip
_PREVIEW = {"events": "*", "template": '{"text": "{{ data.workItem.title }}"}'}
_LOOKED_AT = ("/webhooks", "/deliveries", "/events", "/resends/new?state=failed&since=1h")


class Places(NamedTuple):
    """What is asked for: `new` was sent nothing, `deep` is a place far down the lists, `other` is a webhook of another project, `resent` a delivery with very many attempts."""

    webhook: str
    new: str
    disabled: str
    other: str
    deep: str
    delivery: str
    resent: str
    event: str


Where = Callable[[Bench, Service], AbstractContextManager[tuple[Bench, Service]]]


def _in_its_file(bench: Bench, service: Service) -> AbstractContextManager[tuple[Bench, Service]]:
    return nullcontext((bench, service))


class Looks(NamedTuple):
    """What looks at the pages of one project have taken, in milliseconds."""

    median: float
    slowest: float


def _paths(at: Places) -> Iterator[str]:
    """Pages and lists of a project; one that a form asks for has POST before its path."""
    of_webhook = ("/edit", "/delete", "/rotate-secret", "/replay", "/replay?since=24h")
    yield from ("/webhooks", "/webhooks?text=hook", "/webhooks?state=off", "/webhooks/new")
    yield from (f"/webhooks/{at.webhook}?span={span}" for span in SPANS)
    yield from (f"/webhooks/{at.webhook}{place}" for place in of_webhook)
    yield f"POST /webhooks/{at.webhook}/preview"
    yield from (f"/deliveries/{at.resent}", f"/deliveries/{at.resent}?attempt=7", f"/api/v1/deliveries/{at.resent}")
    yield from (f"/webhooks/{at.new}", f"/deliveries/{at.delivery}", f"/events/{at.event}", "/events?before=3000")
    yield from (
        "/events",
        *(f"/events?{one}" for one in ("event_type=lead.*", "event_type=sprint.closed", "since=24h")),
    )
    yield from (f"/activity?project=proj_0&span={span}" for span in SPANS)
    yield from ("/event-types", "/rejected", "/rejected?before=100", "/tokens", "/audit", "/audit?before=100")
    yield from (
        f"/audit?{one}" for one in (f"webhook={at.webhook}", f"webhook={at.new}", "action=key.rotated", "since=24h")
    )
    yield from ("/resends", f"/resends/{RESEND}", "/resends/new?state=failed&since=24h")
    for path in ("/deliveries", f"/webhooks/{at.webhook}/deliveries"):
        yield from (path, f"{path}?before={at.deep}", *(f"{path}?{one}" for one in _FILTERS))
    yield from ("/api/v1/webhooks", "/api/v1/events", "/api/v1/deliveries", "/api/v1/event-types", "/api/v1/tokens")
    yield from (f"/api/v1/deliveries?{one}" for one in ("state=failed", "status=5xx", "q=nowhere"))
    yield from ("/api/v1/activity?project=proj_0&span=30d", f"/api/v1/webhooks/{at.webhook}/activity?span=30d")


def _loads(at: Places) -> dict[str, tuple[str, str]]:
    """What is asked for beside a project's pages, and by whom."""
    return {
        "counts of resends over all projects": ("operator", "/resends/new?cause=nowhere"),
        "counts of resends": ("other", "/resends/new?cause=nowhere"),
        "counts of a replay": ("other", f"/webhooks/{at.other}/replay?since=30d"),
        "searches for a text": ("other", "/deliveries?text=nowhere"),
        "counts of all deliveries": ("other", "/deliveries?count=1"),
        "a month's activity": ("other", "/activity?span=30d"),
        "an event of 250 KiB": ("other", f"/events/{LARGE}"),
    }


async def _ask(client: aiohttp.ClientSession, asked: str) -> float:
    """Ask for a page; return the milliseconds until it is read."""
    form, path = asked.startswith("POST "), asked.removeprefix("POST ")
    begun = time.perf_counter()
    async with client.post(path, data=_PREVIEW) if form else client.get(path) as answer:
        await answer.read()
        assert answer.status == 200, (asked, answer.status)
    return (time.perf_counter() - begun) * 1000


async def _alone(client: aiohttp.ClientSession, paths: Iterable[str], repeats: int) -> list[tuple[str, float]]:
    """Return each path with the median of its milliseconds."""
    return [(path, statistics.median([await _ask(client, path) for _ in range(repeats)])) for path in paths]


async def _look(client: aiohttp.ClientSession, repeats: int) -> Looks:
    took = [await _ask(client, path) for path in _LOOKED_AT * 5 * repeats]
    return Looks(statistics.median(took), max(took))


@asynccontextmanager
async def _beside(client: aiohttp.ClientSession, path: str) -> AsyncIterator[None]:
    """Let somebody ask for a page again and again, some times at once; it may be refused, as a count that takes too long is."""
    over = asyncio.Event()

    async def ask_on() -> None:
        while not over.is_set():
            async with client.get(path) as answer:
                await answer.read()
                assert answer.status in (200, 422), (path, answer.status)

    asking = [asyncio.create_task(ask_on()) for _ in range(AT_ONCE)]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*asking)


def _finish_a_resend(service: Service, webhook: str, count: int) -> None:
    """Let a webhook have a resend of many that is over."""
    now = clock.text(clock.now())
    with closing(sqlite3.connect(service.database)) as conn, conn:
        conn.execute(
            "INSERT INTO resends (id, actor, project_id, filters, created_at, finished_at, matched) "
            "VALUES (?1, 'operator', 'proj_0', ?2, ?3, ?3, ?4)",
            (RESEND, f'{{"webhook_id": "{webhook}"}}', now, count),
        )
        conn.execute(
            "INSERT INTO resend_webhooks (resend_id, webhook_id, matched, requested, done) VALUES (?1, ?2, ?3, ?3, 1)",
            (RESEND, webhook, count),
        )
        conn.execute(
            "UPDATE deliveries SET resend_id = ? WHERE id IN (SELECT id FROM deliveries WHERE webhook_id = ? "
            "AND state = 'succeeded' ORDER BY id DESC LIMIT ?)",
            (RESEND, webhook, count),
        )


def _add_a_large_event(service: Service) -> None:
    """Let another project have an event whose page is the dearest to make: many short rows, which nobody subscribes to."""
    row = {"id": "wi_12345", "title": "a card of the board", "tags": ["one", "two"]}
    rows = [row] * (LARGEST // len(json.dumps(row)))
    body = json.dumps({"id": LARGE, "type": "work_item.updated", "data": {"workItems": rows}})
    with closing(sqlite3.connect(service.database)) as conn, conn:
        conn.execute(
            "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) "
            "SELECT max(seq) + 1, ?1, 'proj_1', 'work_item.updated', ?2, ?2, ?3 FROM events",
            (LARGE, clock.text(clock.now()), body),
        )


def _add_attempts(service: Service, delivery: str) -> None:
    """Let somebody have resent a delivery a thousand times, to a receiver whose answers are small and become large."""
    answer = gzip.compress(b" " * 10_000_000)
    with closing(sqlite3.connect(service.database)) as conn, conn:
        conn.execute(
            "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?2) "
            "INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, status_code, url, "
            "request_headers, response_headers, response_body) SELECT a.delivery_id, n.i, 'manual', a.started_at, 7, "
            "'http_error', 500, a.url, a.request_headers, ?3, ?4 FROM attempts a JOIN n WHERE a.delivery_id = ?1",
            (delivery, ATTEMPTS, '[["Content-Encoding", "gzip"]]', answer[: 16 * 1024]),
        )
        conn.execute(
            "UPDATE deliveries SET begun = ?1, attempts = ?1, last_number = ?1 WHERE id = ?2", (ATTEMPTS, delivery)
        )


def _add_entries(service: Service, webhook: str, count: int) -> None:
    """Let the audit trail and the rejected rows of a project be long."""
    with closing(sqlite3.connect(service.database)) as conn, conn:
        for statement in (
            "INSERT INTO audit (at, actor, action, project_id, webhook_id) "
            "SELECT ?2, 'operator', 'webhook.updated', 'proj_0', ?3 FROM n",
            "INSERT INTO outbox (project_id, event_type, payload, rejected_reason) "
            "SELECT 'proj_0', 'lead.created', '{}', 'payload is not a JSON object' FROM n",
        ):
            begin, _, end = statement.partition(" SELECT")
            numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)"
            values = (count, clock.text(clock.now()), webhook)[: 3 if "?3" in end else 1]
            conn.execute(f"{begin} {numbers} SELECT{end}", values)


def _places(service: Service, ids: list[str]) -> Places:
    new = service.webhook("https://receiver.example/new", project="proj_0").id
    with closing(sqlite3.connect(service.database)) as conn:
        (delivery, event), (resent, _) = conn.execute(
            "SELECT id, event_id FROM deliveries WHERE webhook_id = ? AND state = 'succeeded' ORDER BY id DESC LIMIT 2",
            (ids[BUSY],),
        ).fetchall()
    deep = id_at(clock.now() - timedelta(days=DAYS - 1))
    return Places(ids[BUSY], new, ids[DISABLED], ids[DISABLED + 20], deep, delivery, resent, event)


async def _measure(count: int, repeats: int, where: Where) -> tuple[list[tuple[str, float]], Looks, dict[str, Looks]]:
    """Return each page and list with the median of its milliseconds, and looks at the pages of one project, alone and beside loads."""
    with scratch() as in_file:
        its_service = Service(in_file.database)
        at = _places(its_service, fill(in_file, count))
        _finish_a_resend(its_service, at.webhook, count // 10)
        _add_a_large_event(its_service)
        _add_attempts(its_service, at.resent)
        _add_entries(its_service, at.webhook, count // 10)
        with where(in_file, its_service) as (bench, service), bench.running():
            address = f"http://127.0.0.1:{bench.port}"
            async with aiohttp.ClientSession(address) as anybody:
                await _ask(anybody, "/sign-in")
            await asyncio.sleep(COMPILED)
            return await _ask_all(service, address, at, repeats)


async def _ask_all(
    service: Service, address: str, at: Places, repeats: int
) -> tuple[list[tuple[str, float]], Looks, dict[str, Looks]]:
    async with (
        aiohttp.ClientSession(address, headers=sessions.cookie(service, None)) as operator,
        aiohttp.ClientSession(address, headers=sessions.cookie(service, "proj_0")) as admin,
        aiohttp.ClientSession(address, headers=sessions.cookie(service, "proj_1")) as other,
    ):
        of_operator = (
            "/sessions",
            f"/events/{LARGE}?project=proj_1",
            f"/webhooks/{at.disabled}",
            f"/webhooks/{at.disabled}/enable",
        )
        found = [
            (f"{who}: {path}", took)
            for who, client, more in (("operator", operator, of_operator), ("admin", admin, ()))
            for path, took in await _alone(client, (*_paths(at), *more), repeats)
        ]
        alone, beside = await _look(admin, repeats), dict[str, Looks]()
        for name, (who, path) in _loads(at).items():
            async with _beside({"operator": operator, "other": other}[who], path):
                beside[name] = await _look(admin, repeats)
    return found, alone, beside


def figures(sizes: Sizes, where: Where = _in_its_file, engine: str = "") -> Iterator[Figure]:
    """Yield the slowest page or list with 1,000,000 deliveries in the log, and by how much others delay a project's pages."""
    count = sizes.of(1_000_000, 2_000)
    found, alone, beside = asyncio.run(_measure(count, sizes.of(7, 2), where))
    for path, spent in found:
        if spent >= REACH:
            print(f"{spent:.0f} ms: {path}", file=sys.stderr)
    name, slowest = max(found, key=lambda one: one[1])
    middle = statistics.median(took for _, took in found)
    yield Figure(
        f"{len(found)} pages and API lists with {count:,} deliveries{engine}",
        f"slowest {slowest:.0f} ms ({name})",
        f"median of them {middle:.0f} ms",
        f"each < {REACH:.0f} ms",
        slowest < REACH,
    )
    for load, took in beside.items():
        yield Figure(
            f"a project's pages{engine} beside {AT_ONCE} at once of another: {load}",
            f"slowest {took.slowest:.0f} ms, median {took.median:.0f} ms",
            f"alone {alone.slowest:.0f} ms, median {alone.median:.0f} ms",
            f"slowest at most {REACH:.0f} ms more",
            took.slowest - alone.slowest <= REACH,
        )
