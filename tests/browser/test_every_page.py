"""Every page, looked at as a checker of accessibility does, on a small phone too."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser, Page

from .conftest import visit
from .scene import Scene, scene


async def _check(page: Page, axe: str, place: str) -> list[str]:
    await page.evaluate(axe)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{place}: {one['id']}: {one['nodes'][0]['html'][:160]}" for one in found["violations"]]


async def _look(browser: Browser, there: Scene, axe: str, scheme: str) -> list[str]:
    """Return what is wrong with any page in one scheme."""
    wrong: list[str] = []
    async with visit(browser, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce") as context:
        page = await context.new_page()
        await page.goto(f"{there.address}/sign-in")
        wrong += await _check(page, axe, f"sign-in, {scheme}")
        await page.goto(there.link())
        for name, path in there.pages.items():
            await page.goto(there.address + path)
            await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            wrong += await _check(page, axe, f"{name}, {scheme}")
    return wrong


async def test_axe_finds_no_violation_and_nothing_is_wider_than_a_phone(
    browser: Browser, axe: str, tmp_path: Path
) -> None:
    """In both schemes, with everything unfolded; at 320 px no page scrolls sideways."""
    async with scene(tmp_path) as there:
        assert await _look(browser, there, axe, "light") + await _look(browser, there, axe, "dark") == []
        async with visit(browser, viewport={"width": 320, "height": 640}) as context:
            page = await context.new_page()
            await page.goto(there.link())
            for name, path in there.pages.items():
                await page.goto(there.address + path)
                await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
                width = await page.evaluate("document.documentElement.scrollWidth")
                assert width <= 320, (name, width)
