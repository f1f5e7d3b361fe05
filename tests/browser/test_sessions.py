"""A link, the session that it begins, and its end, in a browser."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from almirant_webhooks import clock
from almirant_webhooks.ops.keys import Keys
from almirant_webhooks.rules import links
from almirant_webhooks.rules.links import PortalLink
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit, webhooks

from .conftest import opened, visit
from .scene import Scene

pytestmark = pytest.mark.slow
SCRIPT = pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])


def _link(portal: Scene, **fields: str | bool) -> str:
    link = PortalLink("proj_1", int(time.time()) + 600, **fields)  # type: ignore[arg-type]
    return links.url(Keys(portal.service.settings()).signing_key, link, portal.address)


@SCRIPT
async def test_a_link_leads_to_its_page_once_and_names_its_opener(
    browser: Browser, portal: Scene, script: bool
) -> None:
    """A second press is told; a link to look only has no buttons that change anything."""
    webhook = portal.service.webhook("https://example.com/in", description="Board")
    async with visit(browser, java_script_enabled=script) as context:
        page = await context.new_page()
        link = _link(portal, actor="maria@example.com", next=f"/webhooks/{webhook.id}/edit")
        await page.goto(link)
        await expect(page.get_by_text("maria@example.com")).to_be_visible()
        await page.get_by_role("button", name="Open", exact=True).click()
        await expect(page).to_have_url(f"{portal.address}/webhooks/{webhook.id}/edit")
        await page.get_by_role("textbox", name="Description").fill("Boards")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", name="Boards")).to_be_visible()
        (entry,) = portal.service.read(audit.entries, AuditSelection(action="webhook.updated"), limit=10)
        assert entry["actor"] == "maria@example.com (link)"

        await context.clear_cookies()
        await page.goto(link)
        await expect(page.get_by_role("button", name="Open", exact=True)).to_have_count(0)
        await page.goto(_link(portal, read_only=True, next=f"/webhooks/{webhook.id}"))
        await page.get_by_role("button", name="Open", exact=True).click()
        await expect(page.get_by_role("heading", name="Boards")).to_be_visible()
        await expect(page.get_by_role("button", name="Send test")).to_have_count(0)
        await expect(page.get_by_role("switch")).to_have_count(0)


@SCRIPT
async def test_what_was_typed_outlives_the_session(browser: Browser, portal: Scene, script: bool) -> None:
    """It is sent once the link was opened anew, in another tab."""
    async with visit(browser, java_script_enabled=script) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/new")
        await page.get_by_label("URL").fill("https://example.com/in")
        await page.get_by_role("checkbox", name="Whole family lead.*").check()
        with closing(sqlite3.connect(portal.service.database)) as conn, conn:
            conn.execute("UPDATE sessions SET expires_at = '2020-01-01T00:00:00.000Z'")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
        other = await context.new_page()
        await portal.come_in(other, "proj_1")
        await page.get_by_role("button", name="I am signed in again: send it").click()
        await expect(page.get_by_role("heading", name="Put this secret into your receiver now")).to_be_visible()
    (made,) = portal.service.read(webhooks.find, project_id="proj_1")
    assert (made.url, made.events) == ("https://example.com/in", ("lead.*",))


async def _warned(page: Page, portal: Scene) -> Locator:
    """Let a session end in three minutes at a page that was opened long before; return the box that warns."""
    portal.service.execute("UPDATE sessions SET expires_at = ?", clock.text(clock.now() + timedelta(minutes=3)))
    await page.set_extra_http_headers({"X-Live": "1"})  # a page that looks by itself makes no session last longer
    await page.reload()
    await page.set_extra_http_headers({})
    box = page.locator("#session-end")
    await expect(box).to_contain_text("Your session ends at")
    return box


async def test_whoever_is_warned_stays_signed_in_at_a_button_and_keeps_what_is_typed(
    browser: Browser, portal: Scene
) -> None:
    """And once the session has ended after all, the page says so, and has what was typed all the same."""
    async with opened(browser, portal, "/webhooks/new") as page:
        url = page.get_by_label("URL")
        await expect(page.locator("#session-end")).to_be_hidden()
        box = await _warned(page, portal)
        await url.fill("https://example.com/in")
        await box.get_by_role("button", name="Stay signed in").click()
        await expect(box).to_be_hidden()
        await expect(url).to_have_value("https://example.com/in")
        (ends,) = portal.service.execute("SELECT expires_at FROM sessions")
        assert clock.parse(ends[0]) > clock.now() + timedelta(hours=3)

        box = await _warned(page, portal)
        await url.fill("https://example.com/in")
        portal.service.execute("UPDATE sessions SET expires_at = '2020-01-01T00:00:00.000Z'")
        await box.get_by_role("button", name="Stay signed in").click()
        await expect(box).to_contain_text("Your session has ended. What you have typed stays here")
        await expect(box.get_by_role("button", name="Stay signed in")).to_be_hidden()
        await expect(url).to_have_value("https://example.com/in")


async def test_the_end_of_a_session_is_said_in_the_zone_that_the_page_shows(browser: Browser, portal: Scene) -> None:
    """The reader's own, or UTC once they choose it."""
    async with opened(browser, portal, "/webhooks/new", locale="en-GB", timezone_id="Asia/Kolkata") as page:
        box = await _warned(page, portal)
        ends = clock.parse(await box.get_attribute("data-ends") or "")
        await expect(box).to_contain_text(f"ends at {ends.astimezone(ZoneInfo('Asia/Kolkata')):%H:%M}.")
        await page.get_by_role("button", name="Show UTC").press("Enter")
        await expect(box).to_contain_text(f"ends at {ends:%H:%M}.")


async def test_a_session_that_another_tab_goes_on_with_is_not_said_to_end(browser: Browser, portal: Scene) -> None:
    """Neither that it will nor that it has: a page that stays open asks before it says so."""
    asking = "document.dispatchEvent(new Event('visibilitychange'))"
    for path in ("/webhooks/new", "/webhooks"):
        async with opened(browser, portal, path) as page:
            box = await _warned(page, portal)
            other = await page.context.new_page()
            await other.goto(f"{portal.address}/deliveries")
            await page.evaluate(asking)
            await expect(box).to_be_hidden()
            async with page.expect_response(lambda answer: answer.url.endswith("/session")):
                past = "document.getElementById('session-end').dataset.ends = new Date(0).toISOString()"
                await page.evaluate(f"{past}; {asking}")
            await page.wait_for_function("document.getElementById('session-end').dataset.ends > '2000'")
            await expect(box).to_be_hidden()


@SCRIPT
async def test_a_programs_token_is_made_shown_once_and_revoked(browser: Browser, portal: Scene, script: bool) -> None:
    """A page that is opened again does not have it."""
    async with visit(browser, java_script_enabled=script) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/tokens")
        await page.get_by_label("Name").fill("deploy")
        await page.get_by_role("button", name="Make a token").click()
        await expect(page.locator("#new-token")).to_be_visible()
        await page.goto(f"{portal.address}/tokens")
        await expect(page.locator("#new-token")).to_have_count(0)
        await page.get_by_role("link", name="Revoke deploy").click()
        await page.get_by_role("link", name="Cancel").click()
        await page.get_by_role("link", name="Revoke deploy").click()
        await expect(page.get_by_role("heading", name="Revoke the token deploy")).to_be_visible()
        await page.get_by_role("button", name="Revoke for good").click()
        await expect(page.get_by_role("heading", name="No tokens")).to_be_visible()
