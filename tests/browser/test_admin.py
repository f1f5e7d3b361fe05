"""What a new admin does, in a real browser and with real receivers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from almirant_webhooks.rules.signing import signature

from ..conftest import Receiver
from .conftest import visit
from .scene import Scene


async def _create(page: Page, url: str) -> str:
    """Create a webhook by the form, wrong at first; return its secret."""
    await page.get_by_role("link", name="Create webhook").click()
    await page.get_by_label("URL").fill("http://example.com/in")
    await page.get_by_role("checkbox", name="Whole family sprint.*").check()
    await page.get_by_role("textbox", name="Description").fill("Board <mirror>")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#url-error")).to_contain_text("https")
    await expect(page.get_by_role("textbox", name="Description")).to_have_value("Board <mirror>")
    await expect(page.get_by_role("checkbox", name="Whole family sprint.*")).to_be_checked()
    await page.get_by_label("URL").fill(url)
    await page.get_by_role("checkbox", name="Whole family work_item.*").check()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Put this secret into your receiver now")).to_be_visible()
    return (await page.locator("#secret").inner_text()).strip()


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_a_new_admin_finds_the_way(browser: Browser, portal: Scene, receiver: Receiver, script: bool) -> None:
    """Link, create, test, look into a failure, mend and resend, off and on with what is held, delete."""
    service = portal.service
    async with visit(browser, java_script_enabled=script) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await expect(page.get_by_role("heading", name="No webhooks yet")).to_be_visible()
        secret = await _create(page, receiver.url)
        await page.reload()
        await expect(page.locator("#secret")).to_have_count(0)
        await page.get_by_role("button", name="Reveal").click()
        await expect(page.locator("#secret")).to_have_text(secret)

        await page.get_by_label("Event type").select_option("sprint.created")
        await page.get_by_role("button", name="Send test").click()
        await service.until(lambda: receiver.requests)
        sent = receiver.requests[0]
        assert sent.headers["X-Almirant-Test"] == "1"
        assert sent.headers["X-Almirant-Signature"] == signature(sent.body, secret)
        await service.until(lambda: service.log(state="succeeded"))
        await page.get_by_label("Main").get_by_role("link", name="Deliveries", exact=True).click()
        await expect(page.get_by_role("row", name="sprint.created").get_by_text("200")).to_be_visible()

        receiver.status = 500
        service.insert()
        await service.until(lambda: service.log(status="500"))
        if not script:
            await page.reload()
        row = page.get_by_role("row", name="work_item.created")  # with script the list refreshes by itself
        await expect(row.get_by_text("500")).to_be_visible()
        await expect(row.get_by_text("1 of 5")).to_be_visible()
        await row.get_by_role("link").first.click()
        await expect(page.get_by_text("the receiver answered 500")).to_be_visible()
        await expect(page.get_by_label("Answer's body to attempt 1")).to_have_text("thanks")

        receiver.status = 200
        await page.get_by_role("button", name="Resend").click()
        await expect(page.get_by_text("The resend is on its way.")).to_be_visible()
        await service.until(lambda: len(service.log(state="succeeded")) == 2)
        await page.reload()
        await expect(page.get_by_role("heading", name="Attempt 2")).to_be_visible()
        await expect(page.locator(".sub").get_by_text("succeeded")).to_be_visible()
        assert receiver.requests[1].body == receiver.requests[2].body

        await _off_and_on(page, portal, receiver)
        await page.get_by_role("link", name="Delete Board <mirror>").click()
        await expect(page.get_by_text("its 3 deliveries")).to_be_visible()
        await page.get_by_role("button", name="Delete for good").click()
        await expect(page.get_by_role("heading", name="No webhooks yet")).to_be_visible()
        assert service.log() == []


async def _off_and_on(page: Page, portal: Scene, receiver: Receiver) -> None:
    service = portal.service
    await page.get_by_role("link", name="Webhooks", exact=True).first.click()
    toggle = page.get_by_role("switch", name="Enabled: Board <mirror>")
    await expect(toggle).to_have_attribute("aria-checked", "true")
    await toggle.focus()
    await page.keyboard.press("Enter")
    await expect(toggle).to_have_attribute("aria-checked", "false")
    service.insert({"held": True})
    await service.until(lambda: service.log(state="held"))
    await toggle.click()
    await expect(page.get_by_role("heading", name="Enable this webhook")).to_be_visible()
    await page.get_by_role("button", name="Enable and deliver 1").click()
    await service.until(lambda: b'"held"' in receiver.requests[-1].body)
    await expect(toggle).to_have_attribute("aria-checked", "true")


async def test_what_is_selected_is_resent_and_the_text_of_a_request_is_copied(
    browser: Browser, portal: Scene, receiver: Receiver, tmp_path: Path
) -> None:
    """Selection outlives a refresh of the list; curl, run as it was copied, sends the very bytes with their signature."""
    service = portal.service
    webhook = service.webhook(receiver.url)
    service.insert({"a": "it's"}, {"b": '$(touch x) `y` \\ " é'})
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    async with visit(browser) as context:
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/{webhook.id}/deliveries?state=succeeded")
        await page.get_by_role("checkbox", name="Select all on this page").check()
        service.insert({"c": 3})
        await expect(page.get_by_role("button", name="1 new")).to_be_visible()
        await expect(page.locator("tbody tr")).to_have_count(2)
        await page.get_by_role("button", name="1 new").click()
        await expect(page.locator("tbody tr")).to_have_count(3)
        await page.get_by_role("button", name="Resend 2 selected").click()
        await service.until(lambda: len(receiver.requests) == 5)
        assert "state=succeeded" in page.url
        await page.locator("tbody tr").nth(1).get_by_role("link").first.click()
        await page.get_by_role("link", name="Attempt 1").click()
        await page.locator("summary", has_text="As curl").last.click()
        await page.get_by_role("button", name="Copy attempt 1 as curl").click()
        await expect(page.locator("#said")).to_have_text("Copied.")
        copied = await page.evaluate("navigator.clipboard.readText()")
    await service.until(lambda: all(row["attempts"] for row in service.log()))
    before = len(receiver.requests)
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", copied, cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
    assert list(tmp_path.glob("x")) == []
    again = receiver.requests[before]
    originals = [one for one in receiver.requests[:before] if one.body == again.body]
    assert again.headers["X-Almirant-Signature"] == originals[0].headers["X-Almirant-Signature"]


async def test_the_current_tab_can_be_told_in_high_contrast(browser: Browser, portal: Scene) -> None:
    """Forced colours take every other colour away, and would give all tabs the same line."""
    webhook = portal.service.webhook("https://example.com/in")
    async with visit(browser, forced_colors="active") as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        for path, place in (
            (f"/webhooks/{webhook.id}", ".main-nav"),
            (f"/webhooks/{webhook.id}", ".tabs"),
            ("/activity", ".segments"),
        ):
            await page.goto(portal.address + path)
            style = "one => { const s = getComputedStyle(one); return [s.borderBottomColor, s.backgroundColor].join() }"
            current = await page.locator(f"{place} a[aria-current]").evaluate(style)
            other = await page.locator(f"{place} a:not([aria-current])").first.evaluate(style)
            assert current != other, place
