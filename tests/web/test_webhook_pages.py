"""The list of webhooks, and what a webhook's page says first."""

from __future__ import annotations

import asyncio
import html
import re
from datetime import timedelta

from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks

from ..conftest import Receiver
from ..support.service import SECRET, Service
from .test_pages import Pages, pages

__all__ = ["pages"]


def words_of(text: str) -> str:
    """The text of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def _banner(text: str) -> str:
    (part,) = re.findall(r'<div data-live="said">(.*?)</div>', text, re.DOTALL)
    return str(part)


def _named(service: Service, name: str, url: str) -> str:
    made = service.write(
        webhooks.create,
        project_id="proj_1",
        url=url,
        events=["*"],
        secret=SECRET,
        description=name,
        limit=100,
        now=clock.now(),
    )
    return made.id


async def test_a_failing_webhook_s_page_says_why_in_the_receivers_words(pages: Pages, receiver: Receiver) -> None:
    """The last cause, what was given up, and buttons to see it and to send it again; nothing once all is well."""
    service = pages.service

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"error": "build queue is <full>"}, status=503)

    receiver.answer = answer
    webhook = service.webhook(receiver.url)
    path = f"/webhooks/{webhook.id}"
    assert _banner(await pages.get(path)) == ""
    service.insert()
    await service.until(lambda: service.log(status="503"))
    banner = _banner(await pages.get(path))
    assert "The last attempt failed." in words_of(banner)
    assert "answers 503: build queue is <full>." in words_of(banner)
    assert "1 delivery waits and is tried again." in words_of(banner)
    assert f'href="{path}/deliveries?state=pending">See it' in banner
    await pages.post(f"{path}/test", event_type="work_item.created")  # which is counted nowhere
    await service.until(lambda: service.log(state="failed"))
    conn = service.producer()
    with conn:
        conn.execute("UPDATE deliveries SET state = 'failed', next_attempt_at = NULL")
        conn.execute("UPDATE webhooks SET failing_since = ?, failing_noticed_at = ?", (clock.text(clock.now() - timedelta(hours=2)),) * 2)  # fmt: skip
    conn.close()
    banner = _banner(await pages.get(path))
    assert "Everything has failed since" in words_of(banner)
    assert re.search(r"1 delivery made since .* was given up; a resend sends it again", words_of(banner))
    listed, resend = [
        await pages.get(html.unescape(re.findall(rf'href="([^"]+)">{word}<', banner)[0]))
        for word in ("See it", "Resend")
    ]
    assert "503" in words_of(listed)
    assert listed.count('name="id" value="dlv_') == 1
    assert "Resend 1 delivery" in resend


async def test_a_webhook_that_is_off_says_what_is_held(pages: Pages, receiver: Receiver) -> None:
    """With a button that enables it, and leads back to its page."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    service.write(webhooks.disable, webhook.id, clock.now())
    service.insert()
    await service.until(lambda: service.log(state="held"))
    banner = _banner(await pages.get(f"/webhooks/{webhook.id}"))
    assert "This webhook is off since" in words_of(banner)
    assert "1 delivery is held until it is enabled." in words_of(banner)
    assert f'href="/webhooks/{webhook.id}/deliveries?state=held">See it' in banner
    asked = await pages.get(f"/webhooks/{webhook.id}/enable?back=/webhooks/{webhook.id}")
    assert f'name="back" value="/webhooks/{webhook.id}"' in asked
    assert "1 delivery is held. It can go out now, or be discarded" in words_of(asked)


async def test_the_switch_leads_back_to_the_page_that_it_is_on(pages: Pages) -> None:
    """Not from a webhook's page to the list; and nobody is led to another site."""
    webhook = pages.service.webhook("https://example.com/in")
    path = f"/webhooks/{webhook.id}"
    assert f'name="back" value="{path}"' in await pages.get(path)
    assert 'name="back" value="/webhooks?text=example"' in await pages.get("/webhooks?text=example")
    assert (await pages.post(f"{path}/disable", back=path))[:2] == (303, f"{path}?done=disabled")
    assert (await pages.post(f"{path}/enable", back=path))[:2] == (303, f"{path}?done=enabled")
    assert (await pages.post(f"{path}/disable", back="https://evil.example"))[:2] == (303, "/webhooks?done=disabled")


async def test_the_list_is_in_the_order_of_trouble_and_says_how_many(pages: Pages) -> None:
    """What fails first, then what is off, then what is well; a line counts them, and each count leads to those alone."""
    service = pages.service
    well = _named(service, "Board", "https://a.example.com/board")
    off = _named(service, "CRM", "https://b.example.com/crm")
    failing = _named(service, "Deploy", "https://c.example.com/deploy")
    service.write(webhooks.disable, off, clock.now())
    conn = service.producer()
    with conn:
        conn.execute("UPDATE webhooks SET failures_in_a_row = 3, failing_since = ?, failing_noticed_at = ? WHERE id = ?", (*(clock.text(clock.now()),) * 2, failing))  # fmt: skip
    conn.close()

    async def listed(query: str = "") -> list[str]:
        return re.findall(r'<li class="row[^"]*" id="(wh_\w+)"', await pages.get(f"/webhooks{query}"))

    assert await listed() == [failing, off, well]
    line = re.findall(r'<p class="counts-line">(.*?)</p>', await pages.get("/webhooks"), re.DOTALL)[0]
    assert words_of(line) == "1 failing · 1 off · 1 well"
    for state, webhook in (("failing", failing), ("off", off), ("well", well)):
        assert f"/webhooks?state={state}" in line
        assert await listed(f"?state={state}") == [webhook]
    assert await listed("?text=crm") == [off]
    assert await listed("?text=C.EXAMPLE") == [failing]
    assert await listed("?text=nothing") == []
    assert "No webhooks match" in await pages.get("/webhooks?text=nothing")
    assert "must be one of disabled, failing, failed, off, well" in await pages.get("/webhooks?state=ill", status=422)


async def test_a_command_says_of_a_webhook_what_its_page_says(pages: Pages, receiver: Receiver) -> None:
    """In the same words."""
    service = pages.service
    receiver.status = 500
    webhook = service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(status="500"))
    shell = service.shell()
    shown = await asyncio.to_thread(shell.ours, "webhook", "show", webhook.id)
    assert re.search(r"^trouble +The last attempt failed\. .* answers 500: thanks\.", shown, re.MULTILINE)
    delivery = service.log()[0]["delivery_id"]
    shown = await asyncio.to_thread(shell.ours, "delivery", "show", delivery)
    assert re.search(
        r"^outcome +Attempt 1 of 5 failed: \S+ answered 500: thanks\. The next attempt", shown, re.MULTILINE
    )
    assert service.log()[0]["created_at"] in await asyncio.to_thread(shell.ours, "delivery", "list")
