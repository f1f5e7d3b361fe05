"""`python -m tests.browser.screens`: take the pictures in docs/screens.

Every page, some in the dark scheme and on a phone too, and what `docs/admins-in-pictures.md` shows of the way through them.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from pathlib import Path
from typing import cast

from PIL import Image
from playwright.async_api import Page, async_playwright, expect

from .scene import CHROMIUM, Scene, scene

FOLDER = Path(__file__).parents[2] / "docs" / "screens"
_DARK = {"webhooks", "deliveries"}
_PHONE = {"webhooks", "deliveries", "delivery"}


async def _take(page: Page, there: Scene, names: set[str], ending: str, folder: Path) -> None:
    for name, path in there.pages.items():
        if name in names - {"not-found"}:
            await page.goto(there.address + path)
            _save(await page.screenshot(full_page=True), folder / f"{name}{ending}.png")


async def _connect_slack(page: Page, there: Scene, folder: Path) -> None:
    """Fill the form in for a channel of Slack's, save it, and send a test."""
    await page.goto(f"{there.address}/webhooks/new")
    await page.get_by_label("URL").fill(f"{there.receiver}/services/T024BE7LD/B7TS4LXCF/b0ardch4nnel")
    await page.get_by_role("textbox", name="Description").fill("Slack: #deliveries")
    await page.get_by_role("checkbox", name="Whole family work_item.*").check()
    body = page.get_by_label("Body", exact=True)
    await body.select_option("slack")
    await expect(page.locator("[data-preview] pre").first).to_contain_text("blocks")
    await body.evaluate("field => scrollTo(0, field.getBoundingClientRect().top + scrollY - 60)")
    _save(await page.screenshot(), folder / "slack.png")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#secret")).to_be_visible()
    await page.get_by_role("button", name="Send test").click()
    await expect(page.locator(".outcome-card")).to_contain_text("Delivered", timeout=20_000)
    await page.locator("#test-title").evaluate("title => scrollTo(0, title.getBoundingClientRect().top + scrollY - 60)")
    _save(await page.screenshot(), folder / "slack-test.png")


async def _filter(page: Page, there: Scene, folder: Path) -> None:
    """Fill the rows of a filter in."""
    await page.goto(f"{there.address}/webhooks/new")
    rows = page.locator("fieldset").filter(has=page.locator("[data-rows]"))
    for index, (field, op, value) in enumerate(
        (("data.workItem.priority", "in", "high,urgent"), ("type", "!=", "work_item.moved"))
    ):
        await rows.locator("[name=filter_field]").nth(index).fill(field)
        await rows.locator("[name=filter_op]").nth(index).select_option(op)
        await rows.locator("[name=filter_value]").nth(index).fill(value)
    await rows.locator("legend").click()  # nothing has the focus
    _save(await rows.screenshot(), folder / "filter.png")


async def _replace_secret(page: Page, there: Scene, folder: Path) -> None:
    """Let a new secret sign from tomorrow on."""
    await page.goto(f"{there.address}/webhooks/{there.webhook}/rotate-secret")
    await page.get_by_role("button", name="Switch in 24 hours").click()
    await expect(page.locator("#secret")).to_be_visible()
    _save(await page.screenshot(), folder / "secret-replaced.png")


def _save(raw: bytes, path: Path) -> None:
    """Write the top 1,200 pixels of a picture in its own 256 commonest colours, so that none of the pages' turns another."""
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, 1200)))
    counted = sorted(image.getcolors(image.width * image.height) or [], reverse=True)
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, colour in counted[:256] for part in cast("tuple[int, int, int]", colour)])
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1024} KB")


async def take_all(folder: Path) -> None:
    """Take every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        async with scene(Path(work)) as there, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for scheme, width, names, ending in (
                ("light", 1200, set(there.pages), ""),
                ("dark", 1200, _DARK, "-dark"),
                ("light", 375, _PHONE, "-phone"),
            ):
                context = await browser.new_context(
                    color_scheme=scheme,  # type: ignore[arg-type]
                    viewport={"width": width, "height": 800},
                    locale="en-GB",
                    timezone_id="Europe/Madrid",
                )
                page = await context.new_page()
                await page.goto(f"{there.address}/sign-in")
                if scheme == "light" and width == 1200:
                    _save(await page.screenshot(), folder / "sign-in.png")
                await there.come_in(page)
                await _take(page, there, names, ending, folder)
                if scheme == "light" and width == 1200:
                    await _connect_slack(page, there, folder)
                    await _filter(page, there, folder)
                    await _replace_secret(page, there, folder)
                await context.close()
            await browser.close()


if __name__ == "__main__":
    asyncio.run(take_all(Path(sys.argv[1]) if sys.argv[1:] else FOLDER))
