"""Pages that keep themselves up to date leave what their reader has, does and has opened."""

from __future__ import annotations

import sqlite3
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from almirant_webhooks import clock
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import resends, webhooks

from ..conftest import Receiver
from ..support.service import Service
from .conftest import LOOK, look, opened
from .scene import Scene, started

pytestmark = pytest.mark.slow

MORE = ".new-rows"
# A list's rows as the browser has them: what was replaced has lost its mark.
MARK = "for (const [at, row] of document.querySelectorAll('tbody tr').entries()) row.mark = at"
MARKED = "[...document.querySelectorAll('tbody tr')].map((row) => row.mark ?? null)"


@pytest.fixture
async def portal(service: Service) -> Scene:
    """A daemon that serves its pages, and tries a delivery once."""
    service.options["admin"] = {"listen": "127.0.0.1:0"}
    service.options["delivery"] = {"retry_schedule": ["0s"]}
    await service.start()
    return Scene(service, started(service))


async def deliver(portal: Scene, count: int) -> None:
    """Insert events, and wait until all are delivered."""
    before = len(portal.service.log(state="succeeded", limit=1000))
    portal.service.insert(*({"n": number} for number in range(count)))
    await portal.service.until(lambda: len(portal.service.log(state="succeeded", limit=1000)) == before + count)


async def test_a_look_at_a_page_that_shows_the_same_costs_less_than_a_kilobyte(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """Lists and single things alike, the first look too, while the words of how long ago go on."""
    webhook = portal.service.webhook(receiver.url)
    await deliver(portal, 3)
    delivery = portal.service.log()[0]["delivery_id"]
    event = portal.service.log()[0]["event_id"]
    of_one = f"/webhooks/{webhook.id}"
    asked = Selection(webhook_id=webhook.id)
    resend = portal.service.write(resends.start, asked, {webhook.id: 3}, actor="operator", now=clock.now())
    await portal.service.until(lambda: portal.service.read(resends.get, resend)["finished_at"])
    await portal.service.until(lambda: all(row["attempts"] == 2 for row in portal.service.log()))
    paths = (
        "/webhooks",
        of_one,
        f"{of_one}/deliveries",
        "/deliveries",
        f"/deliveries/{delivery}",
        "/events",
        "/resends",
        f"/resends/{resend}",
        "/activity",
        "/rejected",
        "/audit",
    )
    for path in (*paths, f"/events/{event}"):
        async with opened(browser, portal, path) as page:
            for _ in range(2):
                async with page.expect_response(lambda answer: "x-live" in answer.request.headers) as answered:
                    await page.evaluate(LOOK)
                answer = await answered.value
                assert answer.status == 304, path
                sizes = await answer.request.sizes()
                sent = sizes["requestHeadersSize"] + sizes["requestBodySize"]
                assert sent + sizes["responseHeadersSize"] + sizes["responseBodySize"] < 1024, (path, sizes)


async def test_new_rows_come_by_themselves_and_replace_no_other(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """At the top of the list with nothing selected; the rows that were there stay the same elements, with their focus."""
    portal.service.webhook(receiver.url)
    await deliver(portal, 5)
    async with opened(browser, portal, "/deliveries") as page:
        await page.evaluate(MARK)
        await page.locator("tbody tr").nth(2).get_by_role("link").first.focus()
        await deliver(portal, 2)
        await look(page, status=200)
        assert await page.evaluate(MARKED) == [None, None, 0, 1, 2, 3, 4]
        assert await page.evaluate("document.activeElement.closest('tr').mark") == 2
        await expect(page.locator(MORE)).to_be_hidden()


async def test_the_only_row_stays_ticked_as_another_comes(browser: Browser, portal: Scene, receiver: Receiver) -> None:
    """A form with one box named `id` has that box for its id, and with two has both: it was taken for another form."""
    portal.service.webhook(receiver.url)
    await deliver(portal, 1)
    async with opened(browser, portal, "/deliveries") as page:
        await page.locator("tbody tr").get_by_role("checkbox").check()
        await deliver(portal, 1)
        await look(page, status=200)
        await expect(page.locator(MORE)).to_have_text("1 new")
        await expect(page.locator("tbody tr").get_by_role("checkbox")).to_be_checked()


@pytest.mark.parametrize("what", ["scrolled", "ticked", "a text selected"])
async def test_new_rows_are_announced_while_something_is_scrolled_or_selected(
    browser: Browser, portal: Scene, receiver: Receiver, what: str
) -> None:
    """Nothing moves and what is selected stays; at the button the rows come, and what is ticked stays ticked."""
    portal.service.webhook(receiver.url)
    await deliver(portal, 45)
    async with opened(browser, portal, "/deliveries") as page:
        await page.evaluate(MARK)
        if what == "scrolled":
            await page.locator("tbody tr").nth(40).scroll_into_view_if_needed()
        elif what == "ticked":
            await page.locator("tbody tr").nth(3).get_by_role("checkbox").check()
        else:
            await page.evaluate("getSelection().selectAllChildren(document.querySelectorAll('tbody code')[4])")
        place = await page.evaluate("[scrollY, getSelection().toString()]")
        rows = await page.evaluate(MARKED)
        await deliver(portal, 3)
        await look(page, status=200)
        await expect(page.locator(MORE)).to_have_text("3 new")
        await expect(page.locator("#said")).to_contain_text("3 new")
        assert await page.evaluate(MARKED) == rows
        assert await page.evaluate("[scrollY, getSelection().toString()]") == place
        await deliver(portal, 1)
        await look(page, status=200)
        await expect(page.locator(MORE)).to_have_text("4 new")
        await page.locator(MORE).click()
        assert await page.evaluate(MARKED) == [None, None, None, None, *rows]
        await expect(page.locator(MORE)).to_be_hidden()
        if what == "ticked":
            await expect(page.locator("tbody tr").nth(7).get_by_role("checkbox")).to_be_checked()
            await expect(page.get_by_role("button", name="Resend 1 selected")).to_be_enabled()


async def test_what_was_held_back_comes_once_nothing_is_selected_any_more(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """Without another answer than `nothing new`."""
    portal.service.webhook(receiver.url)
    await deliver(portal, 2)
    async with opened(browser, portal, "/deliveries") as page:
        box = page.locator("tbody tr").first.get_by_role("checkbox")
        await box.check()
        await deliver(portal, 1)
        await look(page, status=200)
        await expect(page.locator("tbody tr")).to_have_count(2)
        await box.uncheck()
        await look(page, status=304)
        await expect(page.locator("tbody tr")).to_have_count(3)
        await expect(page.locator(MORE)).to_be_hidden()


async def test_a_delivery_changes_around_what_its_reader_has_open(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """A resend changes state and attempts; inner boxes keep their place, parts their being open or not, and focus stays."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=500, text="\n".join(f"line {number} of an answer" for number in range(200)))

    receiver.answer = refuse
    portal.service.webhook(receiver.url)
    portal.service.insert({"long": ["a value"] * 200})
    await portal.service.until(lambda: portal.service.log(state="failed"))
    delivery = portal.service.log()[0]["delivery_id"]
    async with opened(browser, portal, f"/deliveries/{delivery}") as page:
        await page.evaluate("for (const part of document.querySelectorAll('details')) part.open = !part.open")
        boxes = "[...document.querySelectorAll('pre')].filter((box) => box.scrollHeight > box.clientHeight + 50)"
        await page.evaluate(f"for (const box of {boxes}) box.scrollTop = 37")
        box = page.get_by_label("Body, indented")
        await box.evaluate("(one) => { one.mark = 1; one.focus({preventScroll: true}); }")
        parts = await page.evaluate("[...document.querySelectorAll('details')].map((part) => part.open)")
        await page.evaluate("for (const part of document.querySelectorAll('details')) part.mark = part.open")
        await expect(page.locator("main")).not_to_contain_text("succeeded")
        receiver.answer = None
        assert portal.service.resend(delivery)
        await portal.service.until(lambda: portal.service.log(state="succeeded"))
        await look(page, status=200)
        await expect(page.locator("main").get_by_text("succeeded").first).to_be_visible()
        kept = "[...document.querySelectorAll('details')].filter((part) => 'mark' in part).map((part) => part.open)"
        assert await page.evaluate(kept) == parts
        assert await box.evaluate("(one) => [one.mark, one.scrollTop, document.activeElement === one]") == [1, 37, True]


async def test_a_row_that_moves_keeps_the_focus_and_takes_the_window_nowhere(browser: Browser, portal: Scene) -> None:
    """One of the end of the list that was disabled stands behind the others that are: both places are below the window."""
    service = portal.service
    for number in range(30):
        webhook = service.webhook(f"https://r{number:02}.example.com/in")
        if number < 20:
            service.write(webhooks.disable, webhook.id, clock.now())
    async with opened(browser, portal, "/webhooks") as page:
        row = page.locator("ul.rows > li").last
        moved = await row.get_attribute("id") or ""
        await row.locator(".row-link").evaluate("(link) => link.focus({ preventScroll: true })")
        await page.evaluate("scrollTo(0, document.querySelector('ul.rows').getBoundingClientRect().top - 5)")
        place = await page.evaluate("scrollY")
        assert place > 100
        service.write(webhooks.disable, moved, clock.now())
        await look(page, status=200)
        assert await page.locator("ul.rows > li").last.get_attribute("id") != moved
        assert await page.evaluate("[document.activeElement.closest('li').id, scrollY]") == [moved, place]


async def test_a_failure_to_connect_is_said_and_so_is_its_end(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """With the time of what is shown; the page goes on by itself."""
    portal.service.webhook(receiver.url)
    await deliver(portal, 1)
    async with opened(browser, portal, "/deliveries") as page:
        bar = page.locator(".connection")
        await page.context.set_offline(True)
        await page.evaluate(LOOK)
        await expect(bar).to_contain_text("Not connected. What you see is of Today")
        await expect(page.locator("#said")).to_have_text("Not connected.")
        await deliver(portal, 1)
        await page.context.set_offline(False)
        await expect(bar).to_be_hidden()
        await expect(page.locator("#said")).to_have_text("Connected again.")
        await expect(page.locator("tbody tr")).to_have_count(2)


async def test_whoever_goes_by_landmarks_comes_to_what_a_page_says_of_itself(
    browser: Browser, portal: Scene, receiver: Receiver, axe: str
) -> None:
    """The button of new rows, and that nothing is connected: neither stands outside of all parts of the page."""
    portal.service.webhook(receiver.url)
    await deliver(portal, 2)
    async with opened(browser, portal, "/deliveries", bypass_csp=True) as page:
        await page.locator("tbody tr").first.get_by_role("checkbox").check()
        await deliver(portal, 1)
        await look(page, status=200)
        await expect(page.locator(MORE)).to_be_visible()
        await page.context.set_offline(True)
        await page.evaluate(LOOK)
        await expect(page.get_by_role("region", name="Connection")).to_contain_text("Not connected.")
        await page.evaluate(axe)
        found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]] == []


async def test_the_end_of_a_session_is_said_and_what_was_shown_stays(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """Nothing is thrown away by a form to sign in; a link leads there."""
    portal.service.webhook(receiver.url)
    await deliver(portal, 1)
    async with opened(browser, portal, "/deliveries") as page:
        await page.context.clear_cookies()
        await page.evaluate(LOOK)
        await expect(page.locator(".connection")).to_contain_text("You are signed out.")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.get_by_role("link", name="Sign in again").click()
        await expect(page).to_have_url(f"{portal.address}/sign-in?next=/deliveries")


async def test_a_secret_that_is_shown_once_is_not_taken_away(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """The answer that a look gets has it no more."""
    async with opened(browser, portal, "/webhooks/new") as page:
        await page.get_by_label("URL").fill(receiver.url)
        await page.get_by_role("checkbox", name="Whole family lead.*").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#secret")).to_be_visible()
        await look(page)
        portal.service.insert({}, kind="lead.created")
        await portal.service.until(lambda: portal.service.log(state="succeeded"))
        await look(page, status=200)
        await expect(page.locator("#secret")).to_be_visible()


async def test_a_times_zone_is_the_readers_and_the_choice_of_utc_is_kept(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """Today, yesterday and further back; the exact time in UTC can be copied."""
    webhook = portal.service.webhook(receiver.url)
    conn = sqlite3.connect(portal.service.database, timeout=10)
    with conn:
        conn.execute("UPDATE webhooks SET created_at = '2024-01-05T23:30:15.250Z' WHERE id = ?", (webhook.id,))
    conn.close()
    options = {"locale": "en-GB", "timezone_id": "Europe/Madrid", "permissions": ["clipboard-read", "clipboard-write"]}
    async with opened(browser, portal, f"/webhooks/{webhook.id}", **options) as page:
        created = page.locator("time[data-local][datetime='2024-01-05T23:30:15.250Z']").first
        await expect(created).to_have_text("6 Jan 2024, 00:30")
        await expect(created).to_have_attribute("title", "2024-01-05 23:30:15.250 UTC")
        await expect(page.locator(".foot")).to_contain_text("Times are of Europe/Madrid")
        await page.get_by_role("button", name="Copy UTC 2024-01-05T23:30:15.250Z").first.click()
        await expect(page.locator("#said")).to_have_text("Copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == "2024-01-05T23:30:15.250Z"
        await page.get_by_role("button", name="Show UTC").click()
        await expect(created).to_have_text("5 Jan 2024, 23:30")
        await page.reload()
        await expect(created).to_have_text("5 Jan 2024, 23:30")
        await page.get_by_role("button", name="Show times of Europe/Madrid").click()
        await expect(created).to_have_text("6 Jan 2024, 00:30")
        await deliver(portal, 1)
        await page.goto(f"{portal.address}/deliveries")
        await expect(page.locator("tbody tr time[data-local]")).to_contain_text("Today ")
        for path in (f"/webhooks/{webhook.id}", "/activity"):
            await page.goto(portal.address + path)
            begin = page.locator(".axis time[data-local]")
            moment = clock.parse(await begin.get_attribute("datetime") or "")
            await expect(begin).to_contain_text(f"{moment.astimezone(ZoneInfo('Europe/Madrid')):%H:%M}")
            await page.get_by_role("button", name="Show UTC").click()
            await expect(begin).to_contain_text(f"{moment:%H:%M}")
            await page.get_by_role("button", name="Show times of Europe/Madrid").click()
    async with opened(browser, portal, f"/webhooks/{webhook.id}", java_script_enabled=False) as page:
        begin = page.locator(".axis time[data-local]")
        moment = clock.parse(await begin.get_attribute("datetime") or "")
        await expect(begin).to_have_text(f"{moment:%Y-%m-%d %H:%M}")
        await expect(page.locator("time[datetime='2024-01-05T23:30:15.250Z']").first).to_have_text(
            "2024-01-05 23:30:15"
        )
        await expect(page.locator(".foot")).to_contain_text("Times are UTC")
