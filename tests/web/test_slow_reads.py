"""Reads that take long take turns, and keep no page waiting."""

from __future__ import annotations

import asyncio
import html
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from almirant_webhooks import daemon
from almirant_webhooks.actions import resends as actions
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.engine import Session
from almirant_webhooks.storage.sql import resends, search
from almirant_webhooks.storage.sqlite.connection import open_reader
from almirant_webhooks.storage.sqlite.worker import Worker
from almirant_webhooks.web.snapshots import SlowReads

from ..conftest import Receiver
from ..support.service import Service
from .test_pages import Pages, pages

__all__ = ["pages"]


@pytest.mark.sqlite
async def test_a_project_with_many_long_reads_is_one_part_ahead_of_another_at_most(service: Service) -> None:
    """However many requests it has made before."""
    service.migrate()
    worker = await Worker(lambda: open_reader(service.database)).open()
    slow, order = SlowReads(worker), []

    def part(_: Session, owner: str) -> None:
        order.append(owner)

    many = [asyncio.create_task(slow.read("proj_1", part, "proj_1")) for _ in range(20)]
    await asyncio.gather(*many, slow.read("proj_2", part, "proj_2"))
    await worker.close()
    assert order.index("proj_2") <= 1
    assert order.count("proj_1") == 20


async def test_pages_answer_while_the_thread_of_long_reads_is_busy(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait for it, of their own project and of others."""
    pages.service.webhook("https://receiver.example/in")
    begun, ends = threading.Event(), threading.Event()
    count_part = resends.count_part

    def stay(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        ends.wait(60)
        return count_part(*args, **kwargs)

    monkeypatch.setattr(resends, "count_part", stay)
    counting = [
        asyncio.create_task(pages.get("/resends/new?status=500", project))
        for project in ("proj_1", "proj_1", "proj_2", None)
    ]
    try:
        assert await asyncio.to_thread(begun.wait, 60)
        for project in ("proj_1", "proj_2", None):
            for path in ("/webhooks", "/deliveries", "/events"):
                await pages.get(path, project)
        assert not any(task.done() for task in counting)
    finally:
        ends.set()
    await asyncio.gather(*counting)


@asynccontextmanager
async def searches_of_a_project(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Have a project ask for searches, more at once than there are connections, that last until the end; then all are answered."""
    begun, ends = threading.Event(), threading.Event()
    deliveries = search.deliveries

    def stay(conn: Session, selection: Selection = search.EVERYTHING, **more: Any) -> Any:
        if selection.text is not None:
            begun.set()
            ends.wait(60)
        return deliveries(conn, selection, **more)

    monkeypatch.setattr(search, "deliveries", stay)
    searching = [asyncio.create_task(pages.get("/deliveries?text=x")) for _ in range(2 * daemon.READERS)]
    try:
        assert await asyncio.to_thread(begun.wait, 60)
        yield
        assert not any(task.done() for task in searching)
    finally:
        ends.set()
    assert all("No deliveries match" in text for text in await asyncio.gather(*searching))


async def test_a_project_whose_pages_read_for_long_leaves_a_connection_to_others(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has one at a time; all of its own are answered in the end."""
    async with searches_of_a_project(pages, monkeypatch):
        for project in ("proj_2", None):
            for path in ("/webhooks", "/deliveries", "/events"):
                await pages.get(path, project)


async def test_nobody_waits_to_sign_in_because_a_project_reads_for_long(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New tokens are looked at one by one, so one that waited for its project's turn would hold all others up."""
    async with searches_of_a_project(pages, monkeypatch):
        assert (await pages.post("/sign-in", token="wrong"))[0] == 401
        assert (await pages.post("/sign-in", None, token=pages.service.keys().token))[0] == 303


@pytest.mark.long
async def test_a_button_says_that_there_are_more_than_were_counted(
    pages: Pages, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the page and in the API alike; what is started goes through all that match."""
    service = pages.service
    receiver.status = 500
    hooks = [service.webhook(receiver.url) for _ in range(3)]
    service.insert({"n": 1})
    await service.until(lambda: len(service.log(status="500")) == 3)
    monkeypatch.setattr("almirant_webhooks.storage.sql.resends.PART_WEBHOOKS", 1)
    monkeypatch.setattr(actions, "MOST_COUNTED", 1)
    text = await pages.get("/resends/new?status=500")
    assert "Resend more than 1 deliveries" in text
    monkeypatch.setattr(actions, "MOST_COUNTED", 100)
    monkeypatch.setattr(actions, "LONGEST", 0.0)
    text = await pages.get("/resends/new?status=500")
    assert "Resend all that match, at least 1 delivery" in text
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    body = {"status": "500", "dry_run": True}
    async with pages.client.post("/api/v1/resends", json=body, headers=headers) as answer:
        counted = await answer.json()
    assert (counted["deliveries"], counted["more"]) == (1, True)
    receiver.status = 200
    receiver.requests.clear()
    form = text.partition('<form method="post" action="/resends"')[2].partition("</form>")[0]
    fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
    status, _, _ = await pages.post("/resends", **{name: html.unescape(value) for name, value in fields})
    assert status == 303
    await service.until(lambda: len(service.log(state="succeeded")) == len(hooks))
