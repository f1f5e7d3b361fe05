"""What people look at fits into the width that they have, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks
from almirant_webhooks.storage.sql.session import Session

from ..support import sessions
from ..support.service import SECRET
from .conftest import visit
from .scene import PROJECT, Scene, receivers, scene

LONG_TYPE = "work_item." + "a" * 118
WIDTHS = (320, 390, 640, 768, 1024, 1199, 1200, 1440)
# What is wider than its place: the page itself, or a box in it that would have to be scrolled sideways.
_WIDE = """() => {
  const wide = [...document.querySelectorAll("body *")].filter((one) => {
    const overflow = getComputedStyle(one).overflowX;
    return (overflow === "auto" || overflow === "scroll") && one.scrollWidth > one.clientWidth + 1;
  }).map((one) => `${one.tagName}.${one.className}: ${one.scrollWidth} in ${one.clientWidth}`);
  const page = document.documentElement;
  return page.scrollWidth > page.clientWidth ? [`the page: ${page.scrollWidth} in ${page.clientWidth}`, ...wide] : wide;
}"""


async def _add_long_names(there: Scene, receiver: str) -> dict[str, str]:
    """Make a webhook whose URL has 2,000 characters and that has failed; return its pages."""
    service = there.service
    made = service.write(
        webhooks.create,
        project_id=PROJECT,
        url=f"{receiver}/ci/{'u' * 2000}"[:2000],
        events=[LONG_TYPE],
        secret=SECRET,
        description="d" * 500,
        limit=100,
        now=clock.now(),
    )
    (event,) = service.insert({"text": "x" * 4000}, project=PROJECT, kind=LONG_TYPE)
    await service.until(lambda: any(row["attempts"] for row in service.log(webhook_id=made.id)))
    delivery = service.log(webhook_id=made.id)[0]["delivery_id"]
    return {
        "long webhook": f"/webhooks/{made.id}",
        "long deliveries": f"/webhooks/{made.id}/deliveries",
        "long settings": f"/webhooks/{made.id}/edit",
        "long deletion": f"/webhooks/{made.id}/delete",
        "long delivery": f"/deliveries/{delivery}",
        "long event": f"/events/{event}",
    }


@pytest.mark.slow
async def test_a_hundred_webhooks_fit_a_few_screens(browser: Browser, portal: Scene) -> None:
    """As many as a project may have, on a screen of 1440 by 900; each row is one line of a name and one of a URL."""

    def create(conn: Session) -> None:
        for number in range(100):
            webhooks.create(
                conn,
                project_id="proj_1",
                url=f"https://receiver-{number}.example.com/hooks/{'x' * 20 * (number % 5)}",
                events=["work_item.*", "lead.*"],
                secret=SECRET,
                description=f"Receiver {number}",
                limit=100,
                now=clock.now(),
            )

    portal.service.write(create)
    async with visit(browser, viewport={"width": 1440, "height": 900}) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await expect(page.locator(".row")).to_have_count(100)
        height = await page.evaluate("document.documentElement.scrollHeight")
    assert height <= 6 * 900


@pytest.mark.slow
async def test_nothing_is_scrolled_sideways_at_any_width_nor_in_print(browser: Browser, tmp_path: Path) -> None:
    """From 320 px on (640 px are 200 % of zoom), with types of 128 and URLs of 2,000 characters; rows are cards below 1,200 px, which name their columns."""
    wrong: list[str] = []
    async with scene(tmp_path) as there, receivers() as receiver, visit(browser, reduced_motion="reduce") as context:
        pages = {**there.pages, **await _add_long_names(there, receiver)}
        page = await context.new_page()
        await there.come_in(page)
        for name, path in pages.items():
            await page.goto(there.address + path)
            await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            for width in WIDTHS:
                await page.set_viewport_size({"width": width, "height": 800})
                wrong += [f"{name} at {width}: {what}" for what in await page.evaluate(_WIDE)]
                if await page.locator("table.log").count():
                    display = await page.locator("table.log tbody tr").first.evaluate(
                        "one => getComputedStyle(one).display"
                    )
                    assert (display == "table-row") == (width > 1200), (name, width, display)
                    cell = page.locator("table.log td[data-column]:not(:empty)").first
                    column = await cell.evaluate("one => getComputedStyle(one, '::before').content")
                    assert (column == "none") == (width > 1200), (name, width, column)
            await page.set_viewport_size({"width": 700, "height": 800})
            await page.emulate_media(media="print")
            wrong += [f"{name} in print: {what}" for what in await page.evaluate(_WIDE)]
            await page.emulate_media(media="screen")
    assert wrong == []


async def _wide(page: Page, name: str) -> list[str]:
    """Return what of a page is wider than its place, at any width, with everything unfolded."""
    await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    wrong: list[str] = []
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 800})
        wrong += [f"{name} at {width}: {what}" for what in await page.evaluate(_WIDE)]
    return wrong


@pytest.mark.slow
async def test_what_the_operator_sees_and_who_is_not_signed_in_is_not_scrolled_sideways(
    browser: Browser, tmp_path: Path
) -> None:
    """Lists with the projects of all, named as long as may be; the form for the token, the button of a link, and an ended session."""
    wrong: list[str] = []
    longest = "p" * 128
    async with scene(tmp_path) as there, visit(browser, reduced_motion="reduce") as context:
        service = there.service
        long = service.webhook(f"{there.receiver}/{'u' * 1900}", project=longest, description="d" * 500)
        service.insert({"n": 1}, project=longest)
        await service.until(lambda: service.log(webhook_id=long.id, state="succeeded"))
        sessions.cookie(service, longest, actor="a" * 100)
        page = await context.new_page()
        await page.goto(f"{there.address}/sign-in")
        wrong += await _wide(page, "sign-in")
        await page.get_by_label("Token").fill(service.keys().token)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Webhooks")).to_be_visible()
        lists = ("webhooks", "webhooks/new", "deliveries", "events", "event-types", "rejected", "audit", "resends")
        more = ("resends/new", "tokens", "sessions", "activity", f"webhooks/{long.id}", f"webhooks/{long.id}/delete")
        for path in (*lists, *more, f"webhooks/{long.id}/replay?since=24h"):
            await page.goto(f"{there.address}/{path}")
            wrong += await _wide(page, f"the operator's {path}")
        await page.goto(portal_link := there.address + sessions.link(service, longest, actor="a" * 100))
        wrong += await _wide(page, "a link that would replace the operator's session")
        await context.clear_cookies()
        await page.goto(portal_link)
        wrong += await _wide(page, "a link")
        await page.get_by_role("button", name="Open", exact=True).click()
        await page.goto(f"{there.address}/webhooks/{long.id}/rotate-secret")
        service.execute("UPDATE sessions SET expires_at = '2020-01-01T00:00:00.000Z'")
        await page.locator("form.stack button.primary").click()
        await expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
        wrong += await _wide(page, "an ended session")
    assert wrong == []


@pytest.mark.slow
async def test_the_longest_names_fit_a_small_screen_in_the_words_that_have_them(
    browser: Browser, portal: Scene
) -> None:
    """A project of 128 characters on the page of its activity, and a person of 100 at the button of their link."""
    project = "p" * 128
    link = portal.address + sessions.link(portal.service, project, actor="a" * 100)
    async with visit(browser, viewport={"width": 320, "height": 640}) as context:
        page = await context.new_page()
        await page.goto(link)
        await expect(page.locator(".lead")).to_contain_text("a" * 100)
        wrong = [f"the link: {what}" for what in await page.evaluate(_WIDE)]
        await portal.come_in(page, project)
        await page.goto(f"{portal.address}/activity")
        await expect(page.locator(".lead")).to_contain_text(project)
        wrong += [f"the activity: {what}" for what in await page.evaluate(_WIDE)]
    assert wrong == []
