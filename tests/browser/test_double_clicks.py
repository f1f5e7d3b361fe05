"""A second click while the first answer is under way does nothing a second time."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest
from playwright.async_api import Browser, Page, expect

from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit, webhooks

from ..conftest import Receiver
from .conftest import visit
from .scene import Scene

pytestmark = pytest.mark.slow


def _done(portal: Scene, action: str) -> int:
    return len(portal.service.read(audit.entries, AuditSelection(action=action)))


async def _twice(portal: Scene, page: Page, name: str) -> None:
    """Click twice on a button whose first answer cannot come in between: another program has the database's lock."""
    with closing(sqlite3.connect(portal.service.database, timeout=10, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await page.get_by_role("button", name=name, exact=True).dblclick(no_wait_after=True)
        other.execute("ROLLBACK")


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_a_double_click_does_once_what_a_button_says(
    browser: Browser, portal: Scene, receiver: Receiver, script: bool
) -> None:
    """Create, test, resend, replace and delete; and each answer is that of what was done, not of a second try."""
    service = portal.service
    async with visit(browser, java_script_enabled=script) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/new")
        await page.get_by_label("URL").fill(receiver.url)
        await page.locator("input[name=events][value='*']").check()
        await _twice(portal, page, "Save")
        await expect(page).to_have_url(re.compile(r"/webhooks/wh_\w+"))
        (webhook,) = service.read(webhooks.find, project_id="proj_1")
        of_it = f"{portal.address}/webhooks/{webhook.id}"

        await page.goto(of_it)
        await _twice(portal, page, "Send test")
        await service.until(lambda: service.log(state="succeeded"))
        await expect(page.locator(".outcome-card")).to_be_visible()
        (tested,) = service.log()

        await page.goto(f"{portal.address}/deliveries/{tested['delivery_id']}")
        await _twice(portal, page, "Resend")
        await expect(page.locator("main > .notice")).to_contain_text("The resend is on its way.")
        await service.until(lambda: service.log()[0]["attempts"] == 2)

        await page.goto(f"{of_it}/rotate-secret")
        await _twice(portal, page, "Switch in 24 hours")
        await expect(page.get_by_role("heading", name="Put this secret into your receiver")).to_be_visible()
        await page.goto(f"{of_it}/delete")
        await _twice(portal, page, "Delete for good")
        await expect(page.get_by_role("heading", name="No webhooks yet")).to_be_visible()
    done = ("webhook.created", "webhook.tested", "delivery.resent", "secret.rotated", "webhook.deleted")
    assert [(action, _done(portal, action)) for action in done] == [(action, 1) for action in done]
