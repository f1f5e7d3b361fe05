"""Every page, looked at as a checker of accessibility does, on a small phone too."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from almirant_webhooks import clock
from almirant_webhooks.ops.keys import Keys

from .conftest import visit
from .scene import Scene, scene

_WHOLE = "axe.run(document, {resultTypes: ['violations']})"
_COLOURS = "axe.run(document, {resultTypes: ['violations'], runOnly: ['color-contrast']})"


async def _check(page: Page, axe: str, place: str) -> list[str]:
    """Return what is wrong with a page; in the dark scheme and with forced colours its colours alone can differ."""
    wrong: list[str] = []
    await page.evaluate(axe)
    for scheme, forced, run in (
        ("light", "none", _WHOLE),
        ("dark", "none", _COLOURS),
        ("light", "active", _COLOURS),
    ):
        await page.emulate_media(color_scheme=scheme, forced_colors=forced)  # type: ignore[arg-type]
        found = await page.evaluate(run)
        wrong += [
            f"{place}, {scheme}, forced colours {forced}: {one['id']}: {one['nodes'][0]['html'][:160]}"
            for one in found["violations"]
        ]
    await page.emulate_media(color_scheme="light", forced_colors="none")
    return wrong


async def _look(browser: Browser, there: Scene, axe: str) -> list[str]:
    """Return what is wrong with any page."""
    wrong: list[str] = []
    async with visit(browser, bypass_csp=True, reduced_motion="reduce") as context:
        page = await context.new_page()
        await page.goto(f"{there.address}/sign-in")
        wrong += await _check(page, axe, "sign-in")
        await there.come_in(page)
        for name, path in there.pages.items():
            answer = await page.goto(there.address + path)
            assert answer is not None
            assert answer.status == (404 if name == "not-found" else 200), name
            await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            wrong += await _check(page, axe, name)
    return wrong


async def _look_into_states(browser: Browser, there: Scene, axe: str) -> list[str]:
    """Return what is wrong with what a page shows only after something was done on it, and with the operator's views."""
    wrong: list[str] = []
    async with visit(browser, bypass_csp=True, reduced_motion="reduce") as context:
        page = await context.new_page()
        await page.goto(f"{there.address}/sign-in")
        await page.get_by_text("With the operator’s token").click()
        await page.get_by_label("Token").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#token-error")).to_be_visible()
        wrong += await _check(page, axe, "a wrong token")
        await page.get_by_label("Token").fill(Keys(there.service.settings()).token)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Webhooks")).to_be_visible()
        replay = f"/webhooks/{there.webhook}/replay"
        lists = (
            "/webhooks",
            "/deliveries",
            "/events",
            "/event-types",
            "/rejected",
            "/audit",
            "/resends",
            "/resends/new",
            "/tokens",
            "/sessions",
            "/activity",
        )
        for path in (*lists, replay, f"{replay}?since=24h"):
            await page.goto(there.address + path)
            wrong += await _check(page, axe, f"the operator's {path}")
        await page.goto(there.link())
        wrong += await _check(page, axe, "the button of a link")
        await there.come_in(page)
        await page.goto(f"{there.address}/tokens")
        await page.get_by_label("Name").fill("deploy")
        await page.get_by_role("button", name="Make a token").click()
        await expect(page.locator("#new-token")).to_be_visible()
        wrong += await _check(page, axe, "a new token")
        await page.goto(f"{there.address}/webhooks/new")
        await page.get_by_label("URL").fill("http://example.com/in")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("[aria-invalid=true]").first).to_be_visible()
        wrong += await _check(page, axe, "a form with errors")
        await page.get_by_label("URL").fill("https://example.com/in")
        await page.get_by_role("checkbox", name="Whole family sprint.*").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#secret")).to_be_visible()
        wrong += await _check(page, axe, "the new secret")
        await page.get_by_role("button", name="Send test").click()
        await expect(page.locator(".outcome-card")).to_be_visible()
        wrong += await _check(page, axe, "a test")
    return wrong


async def _look_into_what_was_done(browser: Browser, there: Scene, axe: str) -> list[str]:
    """Return what is wrong with notices, a preview, a change of secret that is under way, and the end of a session."""
    wrong: list[str] = []
    one = f"{there.address}/webhooks/{there.webhook}"
    async with visit(browser, bypass_csp=True, reduced_motion="reduce") as context:
        page = await context.new_page()
        await there.come_in(page)
        notices = ("/webhooks?done=deleted", f"/webhooks/{there.webhook}?done=disabled")
        for path in (*notices, "/deliveries?done=resent-some&n=2&left=1"):
            await page.goto(there.address + path)
            await expect(page.locator("main > .notice")).to_be_visible()
            wrong += await _check(page, axe, f"the notice of {path}")
        await page.goto(f"{one}/edit")
        for settings, shown in (("", ".preview [role=status]"), ("{", ".preview .error")):
            await page.locator("#template").fill(settings)
            await page.get_by_role("button", name="Preview").click()
            await expect(page.locator(shown)).to_be_visible()
            wrong += await _check(page, axe, f"a preview with the template '{settings}'")
        await page.goto(f"{one}/rotate-secret")
        await page.get_by_role("button", name="Switch in 24 hours").click()
        await expect(page.locator("#secret")).to_be_visible()
        wrong += await _check(page, axe, "a secret that was replaced")
        for path in (one, f"{one}/rotate-secret"):
            await page.goto(path)
            wrong += await _check(page, axe, f"a change of secret that is under way: {path}")
        soon = clock.text(clock.now() + timedelta(minutes=3))
        there.service.execute("UPDATE sessions SET expires_at = ?", soon)
        await page.set_extra_http_headers({"X-Live": "1"})  # which makes no session last longer
        await page.goto(f"{one}/edit")
        await expect(page.locator("#session-end")).to_contain_text("Your session ends at")
        wrong += await _check(page, axe, "a session that ends")
        there.service.execute("UPDATE sessions SET expires_at = '2020-01-01T00:00:00.000Z'")
        await page.get_by_role("button", name="Stay signed in").click()
        await expect(page.locator("#session-end")).to_contain_text("Your session has ended")
        wrong += await _check(page, axe, "a session that has ended under a form")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
        wrong += await _check(page, axe, "a form after its session")
    return wrong


@pytest.mark.slow
async def test_axe_finds_no_violation_and_nothing_is_wider_than_a_phone(
    browser: Browser, axe: str, tmp_path: Path
) -> None:
    """In both schemes, with forced colours too, with everything unfolded; at 320 px no page scrolls sideways."""
    async with scene(tmp_path) as there:
        assert await _look(browser, there, axe) == []
        assert await _look_into_states(browser, there, axe) == []
        assert await _look_into_what_was_done(browser, there, axe) == []
        async with visit(browser, viewport={"width": 320, "height": 640}) as context:
            page = await context.new_page()
            await there.come_in(page)
            for name, path in there.pages.items():
                await page.goto(there.address + path)
                await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
                width = await page.evaluate("document.documentElement.scrollWidth")
                assert width <= 320, (name, width)
