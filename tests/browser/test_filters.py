"""Filters by a press and by a calendar, in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from ..conftest import Receiver
from .conftest import visit
from .scene import Scene

pytestmark = pytest.mark.slow


async def test_a_chip_is_pressed_and_a_date_is_picked_in_the_readers_zone(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """What is picked at 10:00 in Madrid is 09:00 of UTC in winter, and in the field; with UTC chosen it is 10:00."""
    service = portal.service
    service.webhook(receiver.url)
    service.insert(kind="lead.created")
    service.insert(kind="sprint.closed")
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    async with visit(browser, timezone_id="Europe/Madrid") as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/deliveries")
        await page.get_by_role("link", name="Lead", exact=True).click()
        await expect(page.get_by_role("row", name="lead.created")).to_be_visible()
        await expect(page.get_by_role("row", name="sprint.closed")).to_have_count(0)
        await page.get_by_role("link", name=re.compile("Lead.*take away")).click()
        await expect(page.get_by_role("row", name="sprint.closed")).to_be_visible()

        await expect(page.get_by_role("button", name="Pick since when")).to_be_visible()
        picker = page.locator("[data-pick=f-since] + input")
        await picker.evaluate("(one) => { one.value = '2026-01-15T10:00'; one.dispatchEvent(new Event('change')); }")
        await expect(page.get_by_label("Since", exact=True)).to_have_value("2026-01-15T09:00Z")
        await page.get_by_role("button", name="Show UTC").click()
        await picker.evaluate("(one) => { one.value = '2026-01-15T10:00'; one.dispatchEvent(new Event('change')); }")
        await expect(page.get_by_label("Since", exact=True)).to_have_value("2026-01-15T10:00Z")
        await page.get_by_role("button", name="Show", exact=True).click()
        await expect(page.get_by_role("row", name="sprint.closed")).to_be_visible()
    async with visit(browser, java_script_enabled=False) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/deliveries")
        await expect(page.get_by_role("button", name="Pick since when")).to_have_count(0)
        await page.get_by_role("link", name="Last 24 h").click()
        await expect(page.get_by_role("row", name="sprint.closed")).to_be_visible()


@pytest.mark.parametrize("page_of", ["/audit", "/webhooks/{webhook}/replay", "/events", "/deliveries", "/resends/new"])
async def test_wherever_a_time_is_typed_it_can_be_picked(browser: Browser, portal: Scene, page_of: str) -> None:
    """The calendar begins with what is typed, or with now; the page says that what is typed is UTC."""
    webhook = portal.service.webhook("https://example.com/in").id
    async with visit(browser, timezone_id="Europe/Madrid") as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(portal.address + page_of.format(webhook=webhook))
        since = page.get_by_label("Since", exact=True)
        await expect(since).to_have_accessible_description("UTC")
        picker, button = page.locator("[data-pick=f-since] + input"), page.get_by_role("button", name="Pick since when")
        await button.click()
        await expect(picker).to_have_value(re.compile(r"^20\d\d-\d\d-\d\dT\d\d:00$"))
        for text in ("2026-01-15T09:30Z", "2026-01-15T09:30", "2026-01-15 09:30:00", "2026-01-15T10:30+01:00"):
            await since.fill(text)
            await picker.evaluate("(one) => { one.value = ''; }")
            await button.click()
            await expect(picker).to_have_value("2026-01-15T10:30")
        await expect(page.locator("[data-pick=f-until]")).to_have_count(1)
