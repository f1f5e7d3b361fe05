"""The form of a webhook, in a real browser: rows of a filter, a preview as one types, a chat's template, hidden headers."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from ..conftest import Receiver
from .conftest import visit
from .scene import Scene

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-the-receiver"
# A word that each chat's message has.
CHATS = {"slack": "mrkdwn", "discord": "allowed_mentions", "teams": "AdaptiveCard", "google-chat": "cardsV2"}


async def come_to_form(page: Page, portal: Scene, receiver: Receiver) -> None:
    """Open the form for a new webhook in a project that has three events, and fill in what it needs."""
    service = portal.service
    service.insert(*({"priority": priority} for priority in ("high", "high", "low")))
    await service.until(lambda: service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL") == (0,))
    await portal.come_in(page, "proj_1")
    await page.get_by_role("link", name="Create webhook").click()
    await page.get_by_label("URL").fill(receiver.url)
    await page.get_by_role("checkbox", name="Whole family work_item.*").check()


async def fill_condition(page: Page, number: int, field: str, op: str, value: str) -> None:
    await page.get_by_label(f"Field {number}").fill(field)
    await page.get_by_label(f"Operator {number}").select_option(op)
    await page.get_by_label(f"Value {number}").fill(value)


async def test_the_preview_follows_what_is_typed(browser: Browser, portal: Scene, receiver: Receiver) -> None:
    """Rows of the filter are added and taken away, and nothing is saved; each chat's template shows its message."""
    async with visit(browser) as context:
        page = await context.new_page()
        await come_to_form(page, portal, receiver)
        preview = page.locator("[data-preview]")
        await fill_condition(page, 1, "data.priority", "=", "high")
        await expect(preview.get_by_role("status")).to_contain_text("2 would be sent")
        rows = page.locator("[data-row]")
        count = await rows.count()
        await page.get_by_role("button", name="Add a condition").click()
        await expect(rows).to_have_count(count + 1)
        await rows.last.get_by_placeholder("data.workItem.priority").fill("data.priority")
        await rows.last.get_by_role("combobox").select_option("!=")
        await rows.last.get_by_placeholder("high", exact=True).fill("high")
        await expect(preview.get_by_role("status")).to_contain_text("0 would be sent")
        await rows.last.get_by_role("button", name="Remove").click()
        await expect(preview.get_by_role("status")).to_contain_text("2 would be sent")
        for name, word in CHATS.items():
            await page.get_by_label("Body", exact=True).select_option(name)
            await expect(preview.locator("pre").first).to_contain_text(word)
        await expect(page.get_by_label("Template")).to_be_hidden()
        await page.get_by_label("Body", exact=True).select_option("")
        await page.get_by_label("Template").fill('{"mine": "{{ data.priority }}"}')
        await expect(preview.locator("pre").first).to_contain_text('"mine": "high"')
        await page.get_by_label("Template").fill('{"mine": "{{ data.priority }')
        await expect(preview.locator(".error")).to_contain_text("is not closed")
        await page.get_by_role("link", name="Cancel").click()
        await expect(page.get_by_role("heading", name="No webhooks yet")).to_be_visible()


async def test_without_a_script_a_button_previews(browser: Browser, portal: Scene, receiver: Receiver) -> None:
    """And keeps what was typed; nothing is saved by it."""
    async with visit(browser, java_script_enabled=False) as context:
        page = await context.new_page()
        await come_to_form(page, portal, receiver)
        await fill_condition(page, 1, "data.priority", "=", "low")
        await expect(page.get_by_role("button", name="Add a condition")).to_be_hidden()
        await page.get_by_label("Body", exact=True).select_option("slack")
        await page.get_by_role("button", name="Preview").click()
        preview = page.locator("[data-preview]")
        await expect(preview.get_by_role("status")).to_contain_text("1 would be sent")
        await expect(preview.locator("pre").first).to_contain_text("blocks")
        await expect(page.get_by_label("Value 1")).to_have_value("low")
        await expect(page.get_by_label("Body", exact=True)).to_have_value("slack")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", name="Its secret")).to_be_visible()


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_a_header_s_value_is_hidden_once_it_is_saved(
    browser: Browser, portal: Scene, receiver: Receiver, script: bool
) -> None:
    """As it is typed too; a form that is saved again keeps it, and no page has it."""
    service = portal.service
    async with visit(browser, java_script_enabled=script) as context:
        page = await context.new_page()
        await come_to_form(page, portal, receiver)
        value = page.get_by_label("Value of header 1", exact=True)
        await expect(value).to_have_attribute("type", "password")
        await page.get_by_label("Name of header 1", exact=True).fill("X-Token")
        await value.fill(TOKEN)
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", name="Put this secret into your receiver now")).to_be_visible()
        assert TOKEN not in await page.content()
        await page.get_by_role("link", name="Settings", exact=True).click()
        await expect(page.get_by_label("Name of header 1", exact=True)).to_have_value("X-Token")
        assert TOKEN not in await page.content()
        await page.get_by_role("textbox", name="Description").fill("Board")
        await page.get_by_role("button", name="Save").click()
        service.insert()
        await service.until(lambda: receiver.requests)
        assert receiver.requests[-1].headers["X-Token"] == TOKEN
