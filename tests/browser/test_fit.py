"""What people look at fits into the width that they have, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks
from almirant_webhooks.storage.sql.session import Session

from ..support import sessions
from ..support.service import SECRET
from .conftest import visit
from .scene import PROJECT, Scene, receivers, scene

LONG_TYPE = "work_item." + "a" * 118
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
            for width in (320, 390, 640, 768, 1024, 1199, 1200, 1440):
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
