"""A replay is the same one by command, API and page: counted, begun, followed, and one event by itself."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit, resends

from ..conftest import Receiver
from ..support.service import Service
from ..web.test_refusals import Doors


@pytest.fixture
async def doors(service: Service, receiver: Receiver) -> AsyncIterator[Doors]:
    """A daemon with its three faces, and six events that were taken before there was a webhook for them."""
    address = await service.serve()
    service.insert(*({"n": number} for number in range(6)), project="proj_past")
    await service.until(
        lambda: service.read(lambda conn: conn.execute("SELECT count(*) FROM events").fetchone()[0] == 6)
    )
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Doors(service, client)


@pytest.mark.long
async def test_each_face_counts_begins_and_shows_the_same_replay(doors: Doors, receiver: Receiver) -> None:
    """And a webhook that was created late gets each event once, in order, by whichever face."""
    service = doors.service
    by_command, by_api, by_page = (service.webhook(f"{receiver.url}/{n}", project="proj_past").id for n in range(3))

    counted = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "replay", by_command, "--since", "1h", "--dry-run", "--json"))  # fmt: skip
    status, answer = await doors.api.call("POST", f"/api/v1/webhooks/{by_api}/replay", None, {"since": "1h", "dry_run": True})  # fmt: skip
    page = await doors.pages.get(f"/webhooks/{by_page}/replay?since=1h&event=work_item.*", None)
    assert (status, list(answer)) == (200, list(counted))
    assert counted["events"] == answer["events"] == 6
    assert (counted["webhook_id"], counted["reaches_back_to"]) == (by_command, None)
    assert "Replay 6 events" in page
    fixed = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.partition("</main>")[0]))
    assert fixed.keys() == {"since", "until", "event", "once", "unscripted"}
    assert f"/webhooks/{by_page}/replay" in await doors.pages.get(f"/webhooks/{by_page}", None)

    begun = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "replay", by_command, "--since", "1h", "--yes", "--json"))  # fmt: skip
    status, shown = await doors.api.call("POST", f"/api/v1/webhooks/{by_api}/replay", None, {"since": "1h", "event": "*"})  # fmt: skip
    assert (status, shown["kind"], shown["matched"]) == (202, "replay", 6)
    status, location, _ = await doors.pages.post(f"/webhooks/{by_page}/replay", None, **fixed)
    assert status == 303
    ids = [begun["resend_id"], shown["id"], location.split("/")[2].partition("?")[0]]
    await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 18)
    await service.until(lambda: all(service.read(resends.get, each)["state"] == "finished" for each in ids))
    for webhook, replay in zip((by_command, by_api, by_page), ids, strict=True):
        rows = service.log(webhook_id=webhook)
        assert len({row["event_id"] for row in rows}) == 6
        (entry,) = service.read(audit.entries, AuditSelection(webhook_id=webhook, action="replay.started"))
        assert entry["detail"] == replay
        assert "<h1>Replay</h1>" in await doors.pages.get(f"/resends/{replay}", None)
    listed = json.loads(await asyncio.to_thread(doors.shell.ours, "delivery", "resends", "--json"))
    assert {row["id"]: (row["kind"], row["requested"]) for row in listed} == dict.fromkeys(ids, ("replay", 6))
    assert "nothing to replay" in await asyncio.to_thread(doors.shell.ours, "webhook", "replay", by_api, "--since", "1h", "--yes", code=1)  # fmt: skip
    assert "The webhook lacks nothing of that time." in await doors.pages.get(f"/webhooks/{by_api}/replay?since=1h", None)  # fmt: skip


@pytest.mark.long
async def test_each_face_sends_one_event_and_says_until_when_it_can(doors: Doors, receiver: Receiver) -> None:
    """`event show`, the API and the event's page have the time until which it is kept, and the way to send it."""
    service = doors.service
    ids = [service.webhook(receiver.url, project="proj_past").id for _ in range(3)]
    event = service.read(lambda conn: conn.execute("SELECT id, created_at FROM events ORDER BY seq LIMIT 1").fetchone())
    kept = clock.text(clock.parse(event["created_at"]) + clock.duration("30d"))
    shown = await asyncio.to_thread(doors.shell.ours, "event", "show", event["id"])
    assert f"kept until {kept} at least; send it now" in shown
    assert f"almirant-webhooks event send-to {event['id']} WEBHOOK" in shown
    _, answer = await doors.api.call("GET", f"/api/v1/events/{event['id']}", None, None)
    page = html.unescape(await doors.pages.get(f"/events/{event['id']}?project=proj_past", None))
    assert (answer["kept_until"], kept in page, page.count("Send it now")) == (kept, True, 3)

    sent = json.loads(await asyncio.to_thread(doors.shell.ours, "event", "send-to", event["id"], ids[0], "--json"))
    body = {"webhook_id": ids[1], "project_id": "proj_past"}
    status, answer = await doors.api.call("POST", f"/api/v1/events/{event['id']}/send-to", None, body)
    assert (status, list(answer)) == (202, list(sent))
    form = {"webhook": ids[2]}
    status, location, _ = await doors.pages.post(f"/events/{event['id']}/send-to", None, **form)
    assert (status, location.startswith("/deliveries/dlv_")) == (303, True)
    await service.until(lambda: len(service.log(state="succeeded")) == 3)
    assert {row["event_id"] for row in service.log()} == {event["id"]}
    for webhook in ids:
        (entry,) = service.read(audit.entries, AuditSelection(webhook_id=webhook, action="event.sent_to"))
        assert (entry["detail"], entry["delivery_id"] in [row["delivery_id"] for row in service.log()]) == (event["id"], True)  # fmt: skip
    assert "Send it now" not in await doors.pages.get(f"/events/{event['id']}?project=proj_past", None)


@pytest.mark.long
async def test_of_two_replays_that_are_asked_for_at_the_same_moment_one_begins(
    doors: Doors, receiver: Receiver
) -> None:
    """And each event arrives once."""
    webhook = doors.service.webhook(receiver.url, project="proj_past").id
    path = f"/api/v1/webhooks/{webhook}/replay"
    answers = await asyncio.gather(*(doors.api.call("POST", path, None, {"since": "1h"}) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [202, *[409] * 7]
    await doors.service.until(lambda: len(doors.service.log(webhook_id=webhook, state="succeeded")) == 6)
    assert len({request.headers["X-Almirant-Delivery"] for request in receiver.requests}) == len(receiver.requests) == 6


@pytest.mark.long
async def test_a_project_replays_its_own_webhooks_alone(doors: Doors, receiver: Receiver) -> None:
    """Another project's webhook and event are not there."""
    webhook = doors.service.webhook(receiver.url, project="proj_past").id
    (event,) = doors.service.read(lambda conn: conn.execute("SELECT id FROM events LIMIT 1").fetchone())
    api = doors.api
    for path, body in (
        (f"/webhooks/{webhook}/replay", {"since": "1h", "dry_run": True}),
        (f"/events/{event}/send-to", {"webhook_id": webhook}),
    ):
        status, problem = await api.call("POST", f"/api/v1{path}", api.admin("proj_2"), body)
        assert (status, problem["detail"]) == (404, f"There is no webhook {webhook}.")
        status, _ = await api.call("POST", f"/api/v1{path}", api.admin("proj_past"), body)
        assert status in (200, 202)


TIMES = ("soon", "999999999d", "", "\0", "\ud800", "0001-01-01T00:00+14:00", "x" * 2000)


async def test_a_time_that_is_none_is_refused_in_words(doors: Doors) -> None:
    """By the API and the page; a command reads it by the same rule."""
    path = f"/webhooks/{doors.webhook}/replay"
    for since in TIMES:
        status, problem = await doors.api.call("POST", f"/api/v1{path}", None, {"since": since})
        assert (status, problem["field"]) == (422, "since"), since
        if since and since.isprintable():
            status, text = await doors.page(path, {"since": since})
            assert (status, problem["detail"] in html.unescape(text)) == (422, True), since
