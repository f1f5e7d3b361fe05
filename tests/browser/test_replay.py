"""A replay, in a browser: asked for by time, counted, sent at a button that says how many, and followed."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from almirant_webhooks.storage.sql import resends

from ..conftest import Receiver
from .conftest import look, opened
from .scene import Scene

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_a_webhook_that_came_late_gets_what_it_lacks(
    browser: Browser, portal: Scene, receiver: Receiver, script: bool
) -> None:
    """Of the type that was typed alone; asked again, it lacks nothing."""
    service = portal.service
    service.webhook(f"{receiver.url}/early")
    service.insert({"n": 1}, {"n": 2}, {"n": 3})
    service.insert(kind="lead.created")
    await service.until(lambda: len(service.log(state="succeeded")) == 4)
    late = service.webhook(f"{receiver.url}/late").id
    async with opened(browser, portal, f"/webhooks/{late}", java_script_enabled=script) as page:
        await page.goto(f"{portal.address}/webhooks/{late}/replay")
        since = page.get_by_label("Since", exact=True)
        await since.fill("soon")
        await page.get_by_role("button", name="Count").click()
        await expect(page.get_by_role("alert")).to_contain_text("'soon' is not a time")
        await expect(since).to_have_value("soon")
        await since.fill("1h")
        await page.get_by_label("Event type").fill("work_item.*")
        await page.get_by_role("button", name="Count").click()
        assert service.log(webhook_id=late) == []
        await page.get_by_role("button", name="Replay 3 events").click()

        await expect(page).to_have_url(re.compile(r"/resends/rsd_\w+"))
        await expect(page.get_by_text("They are sent, oldest first, after whatever is due.")).to_be_visible()
        (replay,) = service.read(resends.find)
        await service.until(lambda: service.read(resends.get, replay["id"])["finished_at"])
        await service.until(lambda: len(service.log(webhook_id=late, state="succeeded")) == 3)
        if script:
            await look(page)
        else:
            await page.reload()
        await expect(page.locator(".outcome-first")).to_have_text("Finished: all 3 succeeded.")
        await expect(page.get_by_role("progressbar", name="Sent again")).to_have_attribute("value", "3")
        await expect(page.get_by_text("3 of 3")).to_be_visible()

        await page.goto(f"{portal.address}/webhooks/{late}/replay?since=1h&event=work_item.*")
        await expect(page.get_by_text("The webhook lacks nothing of that time.")).to_be_visible()
    sent = [one.body for one in receiver.requests if one.path.endswith("/late")]
    assert [body.rpartition(b'"n"')[2][:3].strip(b": }") for body in sent] == [b"1", b"2", b"3"]
