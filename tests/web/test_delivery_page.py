"""What the page of a delivery says, and how much of it."""

from __future__ import annotations

import html
import re
from functools import partial

from aiohttp import web

from almirant_webhooks.storage.sql import log

from ..conftest import Receiver
from ..support.service import Service
from .test_pages import Pages, pages
from .test_webhook_pages import words_of

__all__ = ["pages"]


async def test_a_delivery_answers_first(pages: Pages, receiver: Receiver) -> None:
    """Its outcome in a sentence, the receiver's answer, what was sent, and what comes next on a line of time."""
    service = pages.service

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"error": "no <such> board"}, status=410)

    receiver.answer = answer
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(status="410"))
    path = f"/deliveries/{service.log()[0]['delivery_id']}"
    page = await pages.get(path)
    text = words_of(page)
    assert re.search(r"Attempt 1 of 5 failed: \S+ answered 410: no <such> board\.", text)
    order = [text.index(part) for part in ("The receiver’s answer", "Payload", "Sent headers", "If it fails, again")]
    assert order == sorted(order)
    assert re.search(
        r"The next attempt \(2 of 5\) is planned for .* If it fails, again 5 min, then 30 min, then 2 hours later", text
    )
    assert "<such>" not in page
    await pages.post(f"{path}/resend")
    await service.until(lambda: service.log()[0]["attempts"] == 2)
    page = await pages.get(path)
    assert "Answer's body to attempt 2" in html.unescape(page)
    assert re.search(r"Attempt 2 resend .* after the one before", words_of(page))
    first = html.unescape(await pages.get(f"{path}?attempt=1"))
    assert "Answer's body to attempt 1" in first
    assert "Answer's body to attempt 2" not in first
    for odd in ("0", "9", "x", "-1", "9" * 30):
        assert "Answer's body to attempt 2" in html.unescape(await pages.get(f"{path}?attempt={odd}"))


def _has_attempts(service: Service, number: int) -> bool:
    return bool(service.log()[0]["attempts"] == number)


async def test_a_long_payload_is_a_file_and_its_page_stays_small(pages: Pages, receiver: Receiver) -> None:
    """240 KB and four attempts made a page of 1.5 MB, which was fetched again every 4 s."""
    service = pages.service
    service.webhook(receiver.url)
    service.insert({"text": "x" * 240_000, "end": True})
    await service.until(lambda: service.log(state="succeeded"))
    path = f"/deliveries/{service.log()[0]['delivery_id']}"
    for number in range(2, 5):
        await pages.post(f"{path}/resend")
        await service.until(partial(_has_attempts, service, number))
    text = await pages.get(path)
    assert len(text) < 100_000
    assert "--data-binary @body.json" in text
    async with pages.client.get(f"{path}/body", headers=pages.cookie("proj_1")) as answer:
        assert await answer.read() == receiver.requests[0].body
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
    await pages.get(f"{path}/body", "proj_2", 404)


async def test_a_dense_payload_or_answer_leaves_the_pages_small(pages: Pages, receiver: Receiver) -> None:
    """Indented, 250 KB of it made an event's page of 17 MB, made anew for each look; the whole is a file there too."""
    service = pages.service

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=_dense(5_000), status=500)

    receiver.answer = answer
    service.webhook(receiver.url)
    (long, short) = service.insert(*('{"deep":' + _dense(count) + "}" for count in (120_000, 15_000)))
    await service.until(lambda: len(service.log(status="500")) == 2)
    for delivery in service.log():
        path = f"/deliveries/{delivery['delivery_id']}"
        assert len(await pages.get(path)) < 150_000
    for event in (long, short):
        text = await pages.get(f"/events/{event}")
        assert len(text) < 150_000
        assert ("/body?project=proj_1" in text) == (event == long)
    path = f"/events/{long}/body?project=proj_1"
    async with pages.client.get(path, headers=pages.cookie("proj_1")) as download:
        assert await download.text() == service.read(log.event, long)["body"]
        assert download.headers["Content-Disposition"] == f'attachment; filename="{long}.json"'
    await pages.get(f"/events/{long}/body", "proj_2", 404)


def _dense(count: int) -> str:
    return "[" * 50 + "1," * count + "1" + "]" * 50


async def test_a_webhook_without_a_name_is_named_by_its_host(pages: Pages, receiver: Receiver) -> None:
    """The path of a Slack URL is a secret: a breadcrumb and an event's page are shown to others, and copied."""
    service = pages.service
    webhook = service.webhook(f"{receiver.url}/T000/B000/XXXXsecret")
    (event,) = service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    delivery = await pages.get(f"/deliveries/{service.log()[0]['delivery_id']}")
    (crumbs,) = re.findall(r'<p class="crumbs">(.*?)</p>', delivery, re.DOTALL)
    for text in (crumbs, await pages.get(f"/events/{event}"), await pages.get("/deliveries")):
        assert "XXXXsecret" not in text
        assert receiver.url.removesuffix("/in").partition("://")[2] in text
    for page in ("", "/deliveries", "/edit", "/enable", "/delete", "/rotate-secret", "/replay?since=1h"):
        text = await pages.get(f"/webhooks/{webhook.id}{page}")
        for part in re.findall(r'<title>.*?</title>|<p class="crumbs">.*?</p>|<h1>.*?</h1>', text, re.DOTALL):
            assert "XXXXsecret" not in part, page
    service.webhook(f"{receiver.url}/T000/B000/XXXXsecret", description="Slack: #board")
    listed = await pages.get("/webhooks")
    assert "XXXXsecret" not in listed
    assert webhook.id in listed.partition("<h2>")[2], "two of one host are told apart"


async def test_a_delivery_of_a_webhook_that_is_off_leads_to_where_it_is_enabled(
    pages: Pages, receiver: Receiver
) -> None:
    """And back to the delivery, which can then be resent."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    await pages.post(f"/webhooks/{webhook.id}/disable")
    path = f"/deliveries/{service.log()[0]['delivery_id']}"
    (leads,) = re.findall(r'href="(/webhooks/[^"]+/enable[^"]*)"', await pages.get(path))
    (back, _) = re.findall(r'name="back" value="([^"]+)"', await pages.get(leads))
    assert (await pages.post(leads.partition("?")[0], back=back))[:2] == (303, f"{path}?done=enabled")
    assert f'action="{path}/resend"' in await pages.get(path)


async def test_a_test_is_told_from_a_delivery(pages: Pages, receiver: Receiver) -> None:
    """In the list and on its own page."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    await pages.post(f"/webhooks/{webhook.id}/test", event_type="work_item.created")
    await service.until(lambda: service.log(state="succeeded"))
    assert '<span class="tag">test</span>' in await pages.get("/deliveries")
    assert '<span class="tag">test</span>' in await pages.get(f"/deliveries/{service.log()[0]['delivery_id']}")
