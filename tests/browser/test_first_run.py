"""The first webhook of somebody new, in a browser: from the form to the result of a test and the first delivery."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from almirant_webhooks.rules import event_schemas
from almirant_webhooks.rules.signing import signature

from ..conftest import Receiver
from .conftest import visit
from .scene import Scene

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_the_first_run_leads_from_the_form_to_the_first_delivery(
    browser: Browser, portal: Scene, receiver: Receiver, script: bool
) -> None:
    """Types in words with samples, the secret, a verifier, a test whose result appears in place, then what is real."""
    service = portal.service
    clipboard = ["clipboard-read", "clipboard-write"]
    async with visit(browser, java_script_enabled=script, permissions=clipboard) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/new")
        await expect(page.get_by_text(event_schemas.meaning("lead.stage_changed"))).to_be_visible()
        await page.get_by_text("Sample of lead.stage_changed").click()
        await expect(page.get_by_label("Sample of lead.stage_changed")).to_contain_text("Negotiation")
        await page.get_by_label("URL").fill(receiver.url)
        await page.get_by_role("checkbox", name="Whole family work_item.*").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#secret")).to_be_visible()
        if script:
            await page.get_by_role("button", name="Copy the secret").click()
            await expect(page.locator("#said")).to_have_text("Copied.")
            copied = await page.evaluate("navigator.clipboard.readText()")
            assert copied == (await page.locator("#secret").inner_text()).strip()
        await expect(page.get_by_role("img")).to_have_count(0)
        await expect(page.get_by_label("Python", exact=True)).to_contain_text("hmac.compare_digest")
        await page.get_by_text("PHP", exact=True).first.click()
        await expect(page.get_by_label("PHP", exact=True)).to_contain_text("hash_equals")

        await page.get_by_role("button", name="Send test").click()
        address = page.url
        await service.until(lambda: service.log(state="succeeded"))
        (sent,) = receiver.requests
        if script:
            assert sent.headers["X-Almirant-Signature"] == signature(sent.body, copied)
        else:
            await page.wait_for_load_state()  # it may still be coming from the form
            await page.reload()
        result = page.locator(".outcome-card")
        await expect(result).to_contain_text("Delivered: ")
        assert page.url == address
        await expect(page.get_by_role("heading", name="3. What comes next")).to_be_visible()

        service.insert()
        await service.until(lambda: len(service.log(state="succeeded")) == 2)
        if not script:
            await page.wait_for_load_state()  # it may still be coming from the form
            await page.reload()
        await expect(page.get_by_role("heading", name="Attempts", exact=True)).to_be_visible()
        await expect(page.get_by_role("heading", name="3. What comes next")).to_have_count(0)
        await page.get_by_role("link", name="Events", exact=True).click()
        await page.get_by_role("link", name="Event types").click()
        await expect(page.get_by_text(event_schemas.meaning("sprint.closed"), exact=True)).to_be_visible()


async def test_a_test_that_is_refused_says_what_may_be_wrong(
    browser: Browser, portal: Scene, receiver: Receiver
) -> None:
    """In place, with the receiver's own words."""
    webhook = portal.service.webhook(receiver.url)
    receiver.status = 401
    async with visit(browser) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/{webhook.id}")
        await page.get_by_role("button", name="Send test").click()
        await expect(page.locator(".outcome-card")).to_contain_text("a signature that does not fit")
