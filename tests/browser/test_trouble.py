"""What is wrong is said first and leads on: on a webhook's page, in the list of webhooks, and on a delivery's page."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import disabling, webhooks

from ..conftest import Receiver
from ..support.service import SECRET, Service
from .conftest import look, opened
from .scene import Scene, started

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
BUSY = '{"error": "build queue is full", "retryable": true}'
LATER = "work_item.updated"  # of which the busy receiver says that it may come again in an hour


async def begin(service: Service, *retry_schedule: str, timeout: str = "10s") -> Scene:
    """Start a daemon that serves its pages, with these waits between attempts."""
    service.options["admin"] = {"listen": "127.0.0.1:0"}
    service.options["delivery"] = {"retry_schedule": [*retry_schedule], "timeout": timeout}
    await service.start()
    return Scene(service, started(service))


def named(service: Service, name: str, url: str, **options: object) -> str:
    """Create a webhook with a name; return its id."""
    made = service.write(
        webhooks.create,
        project_id="proj_1",
        url=url,
        events=("work_item.*",),
        secret=SECRET,
        description=name,
        options=options,
        limit=100,
        now=clock.now(),
    )
    return made.id


async def busy(request: web.Request) -> web.Response:
    """Answer as a receiver that has too much to do."""
    headers = {"Retry-After": "3600"} if request.headers["X-Almirant-Event"] == LATER else {}
    return web.json_response(text=BUSY, status=503, headers=headers)


def note_failing(service: Service, webhook: str) -> None:
    """Let a webhook have failed for two hours, which the service has noticed."""
    since = clock.text(clock.now() - timedelta(hours=2))
    service.execute("UPDATE webhooks SET failing_since = ?1, failing_noticed_at = ?1 WHERE id = ?2", since, webhook)


async def renew(page: Page, *, script: bool) -> None:
    """Let a page show how things are now: by itself, or at the reader's wish."""
    if script:
        await look(page)
    else:
        await page.reload()


async def top(page: Page) -> float:
    """Return where the banner is, above all else that the page says of the webhook."""
    box = await page.locator(".banner").bounding_box()
    rest = await page.locator(".columns").bounding_box()
    assert box is not None
    assert rest is not None
    assert rest["y"] >= box["y"] + box["height"]
    return box["y"]


@BOTH
async def test_a_failing_webhook_says_so_and_its_buttons_lead_to_what_was_given_up(
    browser: Browser, service: Service, receiver: Receiver, script: bool
) -> None:
    """Since when, why in the receiver's words, how many wait and were given up; *See them*, *Resend*, and it is well."""
    receiver.answer = busy
    portal = await begin(service, "0s", "0s")
    webhook = named(service, "Build server", receiver.url)
    service.insert({"n": 1}, {"n": 2})
    await service.until(lambda: len(service.log(state="failed")) == 2)
    service.insert(kind=LATER)
    await service.until(lambda: service.log(state="pending", status="503"))
    note_failing(service, webhook)
    page_of_it = f"/webhooks/{webhook}"
    async with opened(browser, portal, page_of_it, java_script_enabled=script) as page:
        banner = page.locator(".banner")
        await top(page)
        title = banner.get_by_role("heading")
        await expect(title).to_contain_text("Everything has failed since")
        await expect(title).to_contain_text("2 hours ago")
        await expect(banner).to_contain_text(f"{receiver.host} answers 503: build queue is full.")
        await expect(banner).to_contain_text("1 delivery waits and is tried again.")
        gone = banner.locator(
            "p", has_text=re.compile(r"2 deliveries made since .* were given up; a resend sends them again\.")
        )

        # Each sentence that counts deliveries has a link to them.
        waits = banner.locator("p", has_text="1 delivery waits")
        await waits.get_by_role("link", name="See it").click()
        await expect(page).to_have_url(re.compile(rf"{page_of_it}/deliveries\?state=pending$"))
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.goto(portal.address + page_of_it)
        await gone.get_by_role("link", name="See them").click()
        await expect(page).to_have_url(re.compile(rf"{page_of_it}/deliveries\?state=failed&test=false&since="))
        await expect(page.locator("tbody tr")).to_have_count(2)
        await expect(page.locator("tbody tr", has_text="failed")).to_have_count(2)

        await page.goto(portal.address + page_of_it)
        receiver.answer = None
        await banner.get_by_role("link", name="Resend").click()
        await expect(page.locator("table.counts tbody tr")).to_have_text(re.compile(r"Build server\s*2"))
        await page.get_by_role("button", name="Resend 2 deliveries").click()
        await service.until(lambda: len(service.log(state="succeeded")) == 2)
        await page.goto(portal.address + page_of_it)
        await expect(banner).to_have_count(0)
    assert [one.headers["X-Almirant-Attempt"] for one in receiver.requests[-2:]] == ["3", "3"]


@BOTH
async def test_the_banner_comes_and_goes_with_the_trouble(
    browser: Browser, service: Service, receiver: Receiver, script: bool
) -> None:
    """With script without a reload."""
    portal = await begin(service, "0s")
    webhook = named(service, "Build server", receiver.url)
    service.insert({"n": 1})
    await service.until(lambda: service.log(state="succeeded"))
    async with opened(browser, portal, f"/webhooks/{webhook}", java_script_enabled=script) as page:
        banner = page.locator(".banner")
        await expect(banner).to_have_count(0)
        receiver.answer = busy
        service.insert({"n": 2})
        await service.until(lambda: service.log(state="failed"))
        await renew(page, script=script)
        await expect(banner.get_by_role("heading")).to_have_text("The last attempt failed.")
        await expect(banner).to_contain_text(
            re.compile("1 delivery made since .* was given up; a resend sends it again")
        )
        receiver.answer = None
        service.insert({"n": 3})
        await service.until(lambda: len(service.log(state="succeeded")) == 2)
        await renew(page, script=script)
        await expect(banner).to_have_count(0)


@BOTH
async def test_a_webhook_that_is_off_or_held_up_says_so_in_the_same_place(
    browser: Browser, service: Service, receiver: Receiver, script: bool
) -> None:
    """Disabled, disabled by the service, rate-limited, and held up by its order."""
    receiver.answer = busy
    portal = await begin(service, "0s", "0s")
    down = named(service, "Down", receiver.url)
    service.insert({"n": 1})
    await service.until(lambda: service.log(state="failed"))
    service.write(disabling.disable_down, timedelta(0), clock.now())
    off = named(service, "Off", receiver.url)
    service.write(webhooks.disable, off, clock.now())
    limited = named(service, "Limited", receiver.url, rate_limit="1/h")
    ordered = named(service, "Ordered", receiver.url, ordered=True)
    service.insert({"n": 2}, {"n": 3}, kind=LATER)
    all_four = (down, off, limited, ordered)

    def count(webhook: str, **fields: Any) -> int:
        return len(service.log(webhook_id=webhook, **fields))

    await service.until(lambda: all(count(one, state="pending") == 2 for one in all_four))
    await service.until(lambda: count(limited, status="503") and count(ordered, status="503"))
    assert [count(one, state="held") for one in all_four] == [2, 2, 0, 0]
    await service.until_deliveries_rest()
    (ahead,) = (row["delivery_id"] for row in service.log(webhook_id=ordered, status="503"))
    places = set()
    async with opened(browser, portal, "/webhooks", java_script_enabled=script) as page:
        banner = page.locator(".banner")
        for webhook, words in (
            (down, "The service disabled this webhook"),
            (down, f"{receiver.host} answers 503: build queue is full."),
            (down, "2 deliveries are held until it is enabled."),
            (off, "This webhook is off since"),
            (off, "2 deliveries are held until it is enabled."),
            (limited, "1 delivery waits for a place in its rate limit of 1/h."),
            (ordered, f"It sends one after the other, and the others wait for {ahead} (attempt 2 of 2 at"),
        ):
            await page.goto(f"{portal.address}/webhooks/{webhook}")
            await expect(banner).to_contain_text(words)
            places.add(await top(page))
        assert len(places) == 1
        await banner.get_by_role("link", name=ahead).click()
        await expect(page).to_have_url(f"{portal.address}/deliveries/{ahead}")

        for webhook, state, words, number in (
            (down, "failed", "See it", 1),
            (down, "held", "See them", 2),
            (off, "held", "See them", 2),
            (limited, "pending", "See them", 2),
            (ordered, "pending", "See them", 2),
        ):
            await page.goto(f"{portal.address}/webhooks/{webhook}")
            await banner.get_by_role("link", name=words).click()
            await expect(page).to_have_url(re.compile(rf"/webhooks/{webhook}/deliveries\?state={state}"))
            await expect(page.locator("tbody tr")).to_have_count(number)

        await page.goto(f"{portal.address}/webhooks/{off}")
        await banner.get_by_role("link", name="Enable").click()
        await page.get_by_role("button", name="Enable and discard 2").click()
        await expect(page).to_have_url(re.compile(rf"/webhooks/{off}"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("Off")
        await expect(banner).to_have_count(0)


@BOTH
async def test_a_webhook_says_that_its_order_waits_for_a_request_that_is_under_way(
    browser: Browser, service: Service, receiver: Receiver, script: bool
) -> None:
    """Its receiver does not answer a second attempt; once it does, all the others go out, and nothing is said any more."""
    ends = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if (await request.json())["data"]["n"] == 1:
            if request.headers["X-Almirant-Attempt"] == "1":
                return web.Response(status=503)
            await ends.wait()
        return web.Response(text="thanks")

    receiver.answer = answer
    portal = await begin(service, "0s", "0s", timeout="2m")
    ordered = named(service, "Ordered", receiver.url, ordered=True)
    service.insert({"n": 0})
    await service.until(lambda: service.log(state="succeeded"))
    first = service.log()[0]["delivery_id"]
    service.insert({"n": 1}, {"n": 2}, {"n": 3})
    try:
        await service.until(lambda: any(one.headers["X-Almirant-Attempt"] == "2" for one in receiver.requests))
        (ahead,) = (row["delivery_id"] for row in service.log(status="503"))
        assert service.resend(first)  # outside of the order; nothing has failed since
        await service.until(lambda: len(service.detail(first)["attempt_list"]) == 2)
        await service.until(lambda: service.detail(first)["attempt_list"][1]["outcome"])
        async with opened(browser, portal, f"/webhooks/{ordered}", java_script_enabled=script) as page:
            banner = page.locator(".banner")
            await expect(banner.get_by_role("heading")).to_have_text("Its order holds everything up.")
            await expect(banner).to_contain_text(
                f"It sends one after the other, and the others wait for {ahead} (attempt 2 of 2 under way)."
            )
            await banner.get_by_role("link", name="See them").click()
            await expect(page.locator("tbody tr")).to_have_count(3)
            await page.goto(f"{portal.address}/webhooks/{ordered}")
            await expect(banner).to_have_count(1)
            ends.set()
            await service.until(lambda: len(service.log(state="succeeded")) == 4)
            await renew(page, script=script)
            await expect(banner).to_have_count(0)
    finally:
        ends.set()


@BOTH
async def test_the_list_is_in_the_order_of_trouble_and_finds_by_name_url_and_state(
    browser: Browser, service: Service, receiver: Receiver, script: bool
) -> None:
    """Counted in a line whose parts lead there; a long URL takes one line, and all of a row is its link."""
    portal = await begin(service, "0s")
    named(service, "Alpha", f"{receiver.url}/alpha")
    named(service, "Beta", f"{receiver.url}/{'b' * 1900}")
    off = named(service, "Gamma", f"{receiver.url}/gamma")
    failing = named(service, "Omega", f"{receiver.url}/omega")
    service.write(webhooks.disable, off, clock.now())
    note_failing(service, failing)
    async with opened(browser, portal, "/webhooks", java_script_enabled=script) as page:
        names, line = page.locator(".row h2"), page.locator(".counts-line")
        await expect(names).to_have_text(["Omega", "Gamma", "Alpha", "Beta"])
        await expect(line).to_have_text(re.compile(r"^\s*1 failing\s*·\s*1 off\s*·\s*2 well\s*$"))
        boxes = [await row.bounding_box() for row in await page.locator(".row").all()]
        heights = [box["height"] for box in boxes if box is not None]
        assert heights[3] == heights[2]
        assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        if script:
            note_failing(service, off)
            service.write(webhooks.enable, off, discard_held=False, now=clock.now())
            await look(page)
            await expect(line).to_have_text(re.compile(r"^\s*2 failing\s*·\s*2 well\s*$"))
            await expect(names).to_have_text(["Gamma", "Omega", "Alpha", "Beta"])
            service.write(webhooks.disable, off, clock.now())
            await page.reload()

        await line.get_by_role("link", name="1 off").click()
        await expect(names).to_have_text(["Gamma"])
        await page.get_by_role("link", name="Clear").click()
        for text, found in (("alph", ["Alpha"]), ("IN/OMEGA", ["Omega"]), ("bbbb", ["Beta"])):
            await page.get_by_role("searchbox", name="Name or URL").fill(text)
            await page.get_by_role("button", name="Show").click()
            await expect(names).to_have_text(found)
        await page.get_by_role("link", name="Clear").click()
        await page.get_by_label("State").select_option("well")
        await page.get_by_role("button", name="Show").click()
        await expect(names).to_have_text(["Alpha", "Beta"])
        await page.locator(".row").first.click()  # in its middle
        await expect(page.get_by_role("heading", level=1)).to_have_text("Alpha")


@BOTH
async def test_a_delivery_answers_first_and_follows_what_becomes_of_it(
    browser: Browser, service: Service, receiver: Receiver, script: bool
) -> None:
    """Outcome, answer, payload beside headers, attempts with the waits between them, and what comes next: all of it live."""

    async def refuse(request: web.Request) -> web.Response:
        first = request.headers["X-Almirant-Attempt"] == "1"
        headers = {} if first else {"Retry-After": "3600"}
        return web.json_response(text=BUSY, status=500 if first else 503, headers=headers)

    receiver.answer = refuse
    portal = await begin(service, "0s", "0s", "0s", "5m")
    named(service, "Build server", receiver.url)
    service.insert({"workItem": {"id": "wi_7"}})
    await service.until(lambda: service.log(state="pending", status="503"))
    delivery = service.log()[0]["delivery_id"]
    async with opened(browser, portal, f"/deliveries/{delivery}", java_script_enabled=script) as page:
        outcome, answer, sent = page.locator(".outcome-card"), page.locator(".answer"), page.locator(".sent")
        await expect(outcome.locator("p").first).to_have_text(
            f"Attempt 2 of 4 failed: {receiver.host} answered 503: build queue is full."
        )
        following = re.compile(r"The next attempt \(3 of 4\) is planned for .*")
        await expect(outcome.locator("p").last).to_have_text(following)
        await expect(answer).to_contain_text("build queue is full")
        await expect(page.get_by_label("Body, indented")).to_contain_text("wi_7")
        await expect(sent).to_contain_text("X-Almirant-Attempt: 2")
        parts = [outcome, *(page.locator(f"[data-live={name}]") for name in ("answer", "payload", "sent"))]
        boxes = [await part.bounding_box() for part in parts]
        first, then, payload, headers = [box for box in boxes if box is not None]
        assert first["y"] < then["y"] < payload["y"] == headers["y"]
        assert payload["x"] + payload["width"] <= headers["x"]

        steps = page.locator(".timeline > li")
        await expect(steps).to_have_count(3)
        await expect(steps.nth(0)).to_contain_text(following)
        await expect(steps.nth(0)).to_contain_text("If it fails, again 5 min later.")
        await expect(steps.nth(1)).to_contain_text(re.compile(r"Attempt 2.*503", re.DOTALL))
        await expect(steps.nth(1)).to_contain_text(re.compile(r"[\d.]+ s after the one before"))
        await expect(steps.nth(2)).to_contain_text(re.compile(r"Attempt 1.*500", re.DOTALL))
        await expect(steps.nth(2)).not_to_contain_text("after the one before")

        receiver.answer = None
        assert service.resend(delivery)
        await service.until(lambda: service.log(state="succeeded"))
        await renew(page, script=script)
        await expect(outcome).to_have_text(re.compile(rf"^\s*Delivered at attempt 3: {receiver.host} answered 200 in [\d,]+ ms\.\s*$"))  # fmt: skip
        await expect(page.locator(".sub")).to_contain_text("succeeded")
        await expect(answer).to_have_text("thanks")
        await expect(sent).to_contain_text("X-Almirant-Attempt: 3")
        await expect(steps).to_have_count(3)
        await expect(steps.first).to_contain_text(re.compile(r"Attempt 3.*resend", re.DOTALL))
        await expect(page.locator(".facts.across")).to_contain_text("none planned")
