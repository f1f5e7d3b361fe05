"""A project's pages inside a page of another site, in a browser."""

from __future__ import annotations

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from ..support.service import Service
from .scene import Scene, started

pytestmark = pytest.mark.slow


async def test_an_admin_works_in_a_frame_of_the_application(browser: Browser, service: Service) -> None:
    """The link's button begins a session there, whose forms work; another site's frame stays empty."""
    link = ""

    async def application(request: web.Request) -> web.Response:
        return web.Response(
            text=f'<iframe id="f" src="{link}" width="900" height="900"></iframe>', content_type="text/html"
        )

    app = web.Application()
    app.router.add_get("/", application)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    for _ in range(2):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    named, other = (f"http://localhost:{address[1]}" for address in runner.addresses)
    service.options["admin"] = {"listen": "127.0.0.1:0"}
    service.options["pages"] = {"frame_ancestors": [named]}
    await service.start()
    there = Scene(service, started(service))
    context = await browser.new_context()
    context.set_default_timeout(20_000)
    try:
        page = await context.new_page()
        link = there.link("proj_1")
        await page.goto(named)
        frame = page.frame_locator("#f")
        await frame.get_by_role("button", name="Open", exact=True).click()
        await expect(frame.get_by_role("heading", name="No webhooks yet")).to_be_visible()
        await frame.get_by_role("link", name="Create webhook").click()
        await frame.get_by_label("URL").fill("https://example.com/in")
        await frame.locator("input[name=events][value='*']").check()
        await frame.get_by_role("button", name="Save").click()
        await expect(frame.locator("#secret")).to_be_visible()
        # Beside the frame there is no session.
        tab = await context.new_page()
        await tab.goto(f"{there.address}/webhooks")
        await expect(tab.get_by_text("With the operator’s token")).to_be_visible()

        link = there.link("proj_1")
        await page.goto(named)
        async with context.expect_page() as opened:
            await frame.get_by_role("button", name="Open in a tab of its own").click()
        await expect((await opened.value).get_by_role("heading", name="Webhooks", exact=True)).to_be_visible()

        link = there.link("proj_1")
        await page.goto(other)
        await expect(page.locator("#f")).to_be_visible()
        await expect(frame.get_by_role("button")).to_have_count(0)
    finally:
        await context.close()
        await runner.cleanup()
