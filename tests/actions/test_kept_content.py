"""An event is offered to be sent as long as its content is kept, and no longer, by command, API and page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.rules.replays import kept_until

from ..conftest import Receiver
from ..support.service import Service
from ..web.test_refusals import Doors


@pytest.fixture
async def doors(service: Service) -> AsyncIterator[Doors]:
    """A daemon that erases content after five days, and commands beside it with the same setting."""
    service.options["retention"] = {"bodies": "5d"}
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        there = Doors(service, client)
        there.shell.config.write_text(f'{there.shell.config.read_text()}[retention]\nbodies = "5d"\n')
        yield there


@pytest.mark.parametrize(
    ("bodies", "until"), [(None, "2026-12-23"), ("60d", "2026-12-23"), ("5d", "2026-11-28")], ids=str
)
def test_the_shorter_of_the_two_times_counts(bodies: str | None, until: str) -> None:
    """`retention.succeeded`, and `retention.bodies` where it is given."""
    kept = clock.duration(bodies) if bodies else None
    assert kept_until("2026-11-23T09:00:00.000Z", clock.duration("30d"), kept) == f"{until}T09:00:00.000Z"


@pytest.mark.long
async def test_each_face_offers_an_event_until_its_content_is_gone(doors: Doors, receiver: Receiver) -> None:
    """It has the time of `retention.bodies`; once the content is erased no face offers it, and each says why."""
    service = doors.service
    (event,) = service.insert(project="proj_past")
    query = "SELECT created_at FROM events WHERE id = ?"
    await service.until(lambda: service.read(lambda conn: conn.execute(query, (event,)).fetchone()))
    service.webhook(receiver.url, project="proj_past")
    (created_at,) = service.read(lambda conn: conn.execute(query, (event,)).fetchone())
    until = clock.text(clock.parse(created_at) + clock.duration("5d"))
    path = f"/events/{event}?project=proj_past"
    said = await asyncio.to_thread(doors.shell.ours, "event", "show", event)
    _, answer = await doors.api.call("GET", f"/api/v1/events/{event}")
    page = await doors.pages.get(path, None)
    assert (answer["kept_until"], until in page, "Send it now" in page) == (until, True, True)
    assert f"kept until {until} at least; send it now" in said
    await asyncio.to_thread(doors.shell.ours, "event", "erase", event, "--yes")
    said = await asyncio.to_thread(doors.shell.ours, "event", "show", event)
    page = await doors.pages.get(path, None)
    assert all("Its content was erased at" in text and "end it now" not in text for text in (said, page))
    shown = json.loads(await asyncio.to_thread(doors.shell.ours, "event", "show", event, "--json"))
    assert shown["erased_at"]
