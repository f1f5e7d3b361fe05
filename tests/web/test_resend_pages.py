"""Many resends at once by the pages and the API: the number on the button, progress, cancel, and further pages of the list."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Refused
from almirant_webhooks.rules.selection import AuditSelection, Selection
from almirant_webhooks.storage.sql import audit, resends, webhooks

from ..conftest import Receiver
from ..support.service import Service
from .test_pages import Pages


@pytest.fixture
async def pages(service: Service) -> AsyncIterator[Pages]:
    """A daemon that serves its pages, and gives a delivery up after its first attempt."""
    service.options["delivery"] = {"retry_schedule": ["0s"]}
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Pages(service, client)


async def _fail(pages: Pages, receiver: Receiver, count: int, project: str = "proj_1") -> None:
    before = len(pages.service.log(state="failed", limit=1000))
    receiver.status = 503
    pages.service.insert(*({"n": number} for number in range(count)), project=project)
    await pages.service.until(lambda: len(pages.service.log(state="failed", limit=1000)) == before + count)
    receiver.status = 200
    receiver.requests.clear()


def _hidden(text: str) -> dict[str, str]:
    form = text.partition('<form method="post" action="/resends"')[2].partition("</form>")[0]
    return {
        name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
    }


@pytest.mark.long
async def test_the_button_says_how_many_and_sends_those_and_no_others(pages: Pages, receiver: Receiver) -> None:
    """From the list's filters to the count, to the work with its progress, to its end."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    service.webhook(receiver.url, project="proj_2")
    await _fail(pages, receiver, 7)
    await _fail(pages, receiver, 2, project="proj_2")
    listed = await pages.get(f"/webhooks/{webhook.id}/deliveries?state=failed&since=1h")
    (link,) = re.findall(r'href="(/resends/new[^"]*)"', listed)
    counted = await pages.get(html.unescape(link))
    assert "Resend 7 deliveries" in counted
    form = _hidden(counted)
    assert (form["state"], form["webhook"]) == ("failed", webhook.id)
    await _fail(pages, receiver, 1)
    status, place, _ = await pages.post("/resends", **form)
    assert (status, place.partition("?")[0].rpartition("/")[0]) == (303, "/resends")
    resend = place.partition("?")[0].rpartition("/")[2]
    await service.until(lambda: service.read(resends.get, resend)["state"] == "finished")
    assert len(receiver.requests) == 7
    shown = await pages.get(place)
    for text in ("7 of 7", "finished", "link to proj_1", resend):
        assert text in shown, text
    assert resend in await pages.get("/resends")
    assert resend not in await pages.get("/resends", "proj_2")
    assert f'href="/resends/{resend}"' in await pages.get("/audit?action=resend.started")
    await pages.get(f"/resends/{resend}", "proj_2", 404)
    assert (await pages.post(f"/resends/{resend}/cancel", "proj_2"))[0] == 404
    assert (await pages.post(f"/resends/{resend}/cancel"))[0] == 409


async def test_a_cancel_at_the_button_says_what_was_sent(pages: Pages, receiver: Receiver) -> None:
    """What waited was not sent and is not counted as sent."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    await _fail(pages, receiver, 3)
    asked = Selection(webhook_id=webhook.id, state="failed")
    counts = service.read(resends.count, asked)
    service.write(webhooks.disable, webhook.id, clock.now())
    resend = service.write(resends.start, asked, counts, actor="operator", now=clock.now())
    with pytest.raises(Refused, match=f"{resend} of just these is under way"):
        service.write(resends.start, asked, counts, actor="operator", now=clock.now())
    shown = await pages.get(f"/resends/{resend}")
    assert (f'href="/resends/{resend}/cancel"' in shown, 'action="/resends/' in shown) == (True, False)
    question = await pages.get(f"/resends/{resend}/cancel")
    assert ("cannot be undone" in question, f'action="/resends/{resend}/cancel"' in question) == (True, True)
    await pages.get(f"/resends/{resend}/cancel", "proj_2", 404)
    assert service.read(resends.get, resend)["state"] == "running"
    status, place, _ = await pages.post(f"/resends/{resend}/cancel")
    assert (status, place) == (303, f"/resends/{resend}?done=resend-cancelled")
    shown = await pages.get(f"/resends/{resend}")
    assert "0 of 3" in shown
    assert "Send nothing more" not in shown
    assert [one["action"] for one in service.read(audit.entries, AuditSelection(action="resend.cancelled"))] == [
        "resend.cancelled"
    ]


async def test_what_cannot_be_resent_has_no_button(pages: Pages, receiver: Receiver) -> None:
    """Nothing matches, a time that is none, a text in the payload (which a resend has no filter for), too much to look at."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    await _fail(pages, receiver, 1)
    text = await pages.get("/resends/new?status=200")
    assert "Nothing matches" in text
    assert "/resends/new" not in (await pages.get("/deliveries?text=wi_1")).replace("/resends/new?state=failed&amp;since=24h", "")  # fmt: skip
    await pages.get("/resends/new?since=soon", status=422)
    status, _, text = await pages.post("/resends", status="200")
    assert status == 422
    assert "nothing to resend" in text
    service.write(webhooks.disable, webhook.id, clock.now())
    assert "Nothing matches" in await pages.get("/resends/new?state=failed")
    await pages.get("/resends/new?project=proj_1", "proj_2", 404)


async def test_the_list_goes_on_by_a_cursor_each_one_once(pages: Pages, receiver: Receiver) -> None:
    """In the API and on the pages, though many were begun in the same millisecond."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    await _fail(pages, receiver, 1)
    now = clock.now()
    made = [
        service.write(resends.start, Selection(event_id=f"e{number}"), {webhook.id: 1}, actor="operator", now=now + timedelta(seconds=number // 10))
        for number in range(55)
    ]  # fmt: skip
    path, seen = "/api/v1/resends?limit=20", []
    while path:
        async with pages.client.get(path, headers=pages.cookie("proj_1")) as answer:
            found = await answer.json()
        seen += [one["id"] for one in found["items"]]
        path = f"/api/v1/resends?limit=20&cursor={found['next_cursor']}" if found["next_cursor"] else ""
    assert len(seen) == 55
    assert set(seen) == set(made)
    first = await pages.get("/resends")
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first)
    second = await pages.get(html.unescape(older))
    shown = [re.findall(r'href="/resends/(rsd_\w+)"', page) for page in (first, second)]
    assert [len(one) for one in shown] == [50, 5]
    assert shown[0] + shown[1] == seen


def test_a_count_that_would_take_too_long_says_how_to_narrow_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of looking through a log of any size."""
    service.migrate()
    monkeypatch.setattr(resends, "COUNTED", 2)
    webhook = service.webhook("https://example.com/in")
    conn = service.producer()
    with conn:
        conn.execute("INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) VALUES (1, 'e', 'proj_1', 'a.b', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', '{}')")  # fmt: skip
        conn.executemany(
            "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, attempts, created_at, last_status) VALUES (?, 1, 'e', ?, ?, 1, '2026-01-01T00:00:00.000Z', ?)",
            [(f"dlv_{number}", webhook.id, "failed" if number else "succeeded", "500" if number else "200") for number in range(3)],
        )  # fmt: skip
    conn.close()
    assert service.read(resends.count, Selection(state="failed")) == {webhook.id: 2}
    assert service.read(resends.count, Selection(state="held")) == {}
    for asked in (Selection(), Selection(webhook_id=webhook.id), Selection(event_id="e")):
        with pytest.raises(Refused, match="narrow it by time"):
            service.read(resends.count, asked)


@pytest.mark.long
async def test_a_resend_whose_attempts_all_failed_says_so(pages: Pages, receiver: Receiver) -> None:
    """Not only that it is over; with those that went well it says how many of which."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    await _fail(pages, receiver, 3)
    receiver.status = 503
    asked = Selection(webhook_id=webhook.id, state="failed")

    async def resend() -> str:
        counts = service.read(resends.count, asked)
        started = service.write(resends.start, asked, counts, actor="operator", now=clock.now())
        await service.until(lambda: service.read(resends.get, started)["state"] == "finished")
        return await pages.get(f"/resends/{started}")

    shown = await resend()
    assert "Finished: all 3 failed." in shown
    assert "Finished: all 3 failed." in await pages.get("/resends")
    receiver.status = 200
    assert "Finished: all 3 succeeded." in await resend()


@pytest.mark.long
async def test_a_resend_that_is_over_is_not_asked_about(pages: Pages, receiver: Receiver) -> None:
    """A link that was opened before its end leads to how it went."""
    service = pages.service
    service.webhook(receiver.url)
    await _fail(pages, receiver, 1)
    asked = Selection(state="failed")
    started = service.write(resends.start, asked, service.read(resends.count, asked), actor="operator", now=clock.now())
    await service.until(lambda: service.read(resends.get, started)["state"] == "finished")
    path = f"/resends/{started}"
    async with pages.client.get(f"{path}/cancel", headers=pages.cookie(None), allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"{path}?done=resend-over")
    assert "It has ended already" in await pages.get(f"{path}?done=resend-over", None)
