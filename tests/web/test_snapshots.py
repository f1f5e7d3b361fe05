"""What people look at is one state of the data, read beside those that write: nothing in between changes it under them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from almirant_webhooks import clock, daemon
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import resends, rotation
from almirant_webhooks.storage.sqlite import outbox, rejected_rows

from ..conftest import Receiver
from ..support.service import SECRET, Service
from .pruning import Pruner, pruner_of
from .test_pages import ROUTES, Pages


@pytest.fixture
async def things(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Pages, Pruner, dict[str, str]]]:
    """A daemon with one of everything, whose readers tell of their statements."""
    pruner = pruner_of(service, monkeypatch)
    receiver.status = 500
    address = await service.serve()
    webhook = service.webhook(receiver.url)
    (event,) = service.insert({"wi": 1})
    await service.until(lambda: service.log(status="500"))
    resend = service.write(
        resends.start, Selection(since=clock.now()), {webhook.id: 1}, actor="operator", now=clock.now()
    )
    await service.until(lambda: service.read(resends.get, resend)["state"] == "finished")
    now = clock.now()
    service.write(rotation.start, webhook.id, secret=SECRET, switch_at=now, actor="operator", now=now)
    named = {"webhooks": webhook.id, "deliveries": service.log()[0]["delivery_id"], "events": event, "resends": resend}
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Pages(service, client), pruner, named


def _paths(named: dict[str, str]) -> Iterator[str]:
    """Every page and every list of the API that can be read; the ones that write something down are transactions anyway."""
    for method, canonical in ROUTES:
        parts = canonical.removeprefix("/api/v1").split("/")
        if method == "GET" and canonical not in ("/portal/{link}", "/static/{name}") and parts[-1] != "secret":
            of_project = "?project=proj_1" if canonical.endswith("v1/activity") else ""
            yield canonical.replace("{id}", named.get(parts[1], "")) + of_project
    yield from ("/deliveries?count=1&text=wi", "/api/v1/deliveries?count=true&q=wi", "/resends/new?state=pending")


@pytest.mark.long
async def test_nothing_that_is_pruned_between_two_reads_breaks_a_page(
    things: tuple[Pages, Pruner, dict[str, str]],
) -> None:
    """Each page and list, with everything removed before its first statement, its second, and so on to its last."""
    pages, pruner, named = things
    # The daemon's own looks would be counted as the page's.
    assert pages.service.daemon is not None
    await pages.service.daemon._tasks.cancel()
    pruner.keep()
    between = 0
    for path in _paths(named):
        for at in range(1, 100):
            pruner.at, pruner.seen, pruner.removed = at, 0, False
            async with pages.client.get(path, headers=pages.cookie(None), allow_redirects=False) as answer:
                text = await answer.text()
            pruner.at = 0
            if not pruner.removed:
                break
            pruner.restore()
            # Before the first statement it is not there; from then on it is there to the last. A resend that is over is not asked about.
            well = 303 if path == f"/resends/{named['resends']}/cancel" else 200
            assert answer.status in ((well, 404) if at == 1 else (well,)), (path, at, answer.status, text[-600:])
            between += at > 1
    assert between > 40


@pytest.mark.long
async def test_nothing_that_is_pruned_between_two_reads_breaks_a_command(
    things: tuple[Pages, Pruner, dict[str, str]],
) -> None:
    """As on the pages."""
    pages, pruner, named = things
    await pages.service.stop()
    pruner.keep()
    shell = pages.service.shell()
    between = 0
    for words in (
        ("webhook", "list"),
        ("webhook", "show", named["webhooks"]),
        ("delivery", "show", named["deliveries"]),
        ("event", "show", named["events"]),
        ("delivery", "resends", named["resends"]),
        ("stats",),
    ):
        for at in range(2, 100):
            pruner.at, pruner.seen, pruner.removed = at, 0, False
            shell.ours(*words)
            pruner.at = 0
            if not pruner.removed:
                break
            pruner.restore()
            between += 1
    assert between > 10


@pytest.fixture(params=["in the database", "in a file of its own"])
async def held_up(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Pages, dict[str, str]]]:
    """A daemon whose writers' threads are held up, by a lock of others perhaps."""
    service = Service(tmp_path / "hooks.db", tmp_path / "outbox.db" if "own" in str(request.param) else None)
    address = await service.serve()
    webhook = service.webhook("https://example.com/in")
    conn = service.producer()
    with conn:
        conn.execute(
            "INSERT INTO outbox (event_id, project_id, event_type, payload, rejected_reason) VALUES ('e1', 'proj_1', 'a.b', '{}', 'odd')"
        )
    conn.close()
    assert service.daemon is not None
    storage = service.daemon.storage
    go_on = threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        go_on.wait(60)

    waiting = [asyncio.create_task(writer.run(hold)) for writer in (storage.database, storage.outbox)]
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Pages(service, client), {"webhooks": webhook.id}
    go_on.set()
    await asyncio.gather(*waiting)
    await service.close()


async def test_pages_are_read_beside_the_writers(held_up: tuple[Pages, dict[str, str]]) -> None:
    """Every page, list and metric answers while the threads that write do something else."""
    pages, named = held_up
    for path in _paths(named):
        async with asyncio.timeout(20):
            async with pages.client.get(path, headers=pages.cookie(None), allow_redirects=False) as answer:
                assert answer.status < 500, path
                if path == "/rejected":
                    assert "e1" in await answer.text()


async def test_a_body_that_comes_slowly_holds_no_reader(service: Service) -> None:
    """As many as there are readers wait for the rest of a form; pages are read all the same."""
    address = await service.serve()
    host, _, port = address.removeprefix("http://").partition(":")
    webhook = service.webhook("https://example.com/in")
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        pages = Pages(service, client)
        slow = []
        cookie = pages.cookie("proj_1")["Cookie"]
        for path in (
            f"/webhooks/{webhook.id}/edit",
            f"/api/v1/webhooks/{webhook.id}/disable",
            "/webhooks",
        ) * daemon.READERS:
            _, writer = await asyncio.open_connection(host, int(port))
            head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\nContent-Length: 100\r\n"
            writer.write(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\nx".encode())
            await writer.drain()
            slow.append(writer)
        async with asyncio.timeout(20):
            for _ in range(2 * daemon.READERS):
                assert webhook.id in await pages.get("/webhooks")
        for writer in slow:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def _read_by(work: Callable[[], Any]) -> int:
    """Return the bytes that this thread asks the system for while it works (proc(5), io: rchar)."""

    def rchar() -> int:
        return int(Path(f"/proc/self/task/{threading.get_native_id()}/io").read_text().split()[1])

    before = rchar()
    work()
    return rchar() - before


@pytest.mark.long
@pytest.mark.parametrize("project", [None, "proj_1"])
def test_the_list_of_rejected_rows_reads_no_payloads(tmp_path: Path, project: str | None) -> None:
    """A page of 50 costs the same with 400 rejected rows and with 4,000, of 20 KB each; paging gives each row once."""
    service = Service(tmp_path / "hooks.db", tmp_path / "outbox.db")
    service.migrate()
    payload = '{"text": "%s"}' % ("x" * 20_000)
    read = {}
    for count in (400, 4_000):
        conn = service.producer()
        with conn:
            conn.executemany(
                "INSERT INTO outbox (event_id, project_id, event_type, payload, rejected_reason) VALUES (?, 'proj_1', 'a.b', ?, 'odd')",
                ((f"e{count}-{number}", payload) for number in range(count)),
            )
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        conn.close()
        reader = outbox.open_outbox(service.database, service.outbox, read_only=True)
        read[count] = _read_by(lambda reader=reader: rejected_rows.newest(reader, 50, project))  # type: ignore[misc]
        reader.close()
    # Of one project, a page of the file is read for each few rows that are looked at: never their payloads.
    assert read[4_000] < (3_000_000 if project is None else 4_400 * 4_096 + 3_000_000)
    assert project is not None or read[4_000] < read[400] * 1.5
    reader = outbox.open_outbox(service.database, service.outbox, read_only=True)
    seen: list[object] = []
    before: int | None = None
    while True:
        rows, before = rejected_rows.newest(reader, 50, project, before=before, looked_at=130)
        seen += [row["id"] for row in rows]
        if before is None:
            break
    reader.close()
    assert seen == list(range(4_400, 0, -1))
    assert os.path.getsize(service.outbox_file) > 80_000_000
