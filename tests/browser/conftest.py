"""A browser, and the checker of accessibility, for the tests of this folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from ..support import needs
from ..support.service import Service
from .scene import Scene, started

HERE = Path(__file__).parent
LOOK = "window.dispatchEvent(new Event('online'))"  # as if the network had just come back: a look at once

expect.set_options(timeout=20_000)  # as for what is done: a machine may be busy


@pytest.fixture
async def portal(service: Service) -> Scene:
    """A daemon that serves its pages, with nothing in it yet."""
    service.options["admin"] = {"listen": "127.0.0.1:0"}
    await service.start()
    return Scene(service, started(service))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's chromium."""
    chromium = needs.program("chromium")
    async with async_playwright() as playwright:
        # Without its sandbox, which root cannot use.
        running = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        await running.close()


@asynccontextmanager
async def visit(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """A browser of somebody's own: nothing may go wrong in its console, and nothing may be fetched from elsewhere."""
    context = await browser.new_context(**options)
    context.set_default_timeout(20_000)
    wrong: list[str] = []
    context.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on(
        "request",
        lambda one: None if "://127.0.0.1:" in one.url or one.url.startswith("data:") else wrong.append(one.url),
    )
    yield context
    await context.close()
    expected = ("Failed to load resource",)  # the browser's own words for a page with 404 or 422
    assert [line for line in wrong if not line.startswith(expected)] == []


@asynccontextmanager
async def opened(browser: Browser, portal: Scene, path: str, **options: object) -> AsyncIterator[Page]:
    """A page that a project's admin has open."""
    async with visit(browser, viewport={"width": 1280, "height": 700}, **options) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(portal.address + path)
        yield page


async def look(page: Page, *, status: int | None = None) -> None:
    """Let the page look at once, and wait for the answer."""
    async with page.expect_response(lambda answer: "x-live" in answer.request.headers) as answered:
        await page.evaluate(LOOK)
    answer = await answered.value
    assert status is None or answer.status == status
    await answer.finished()
    await page.evaluate("new Promise((done) => setTimeout(done))")


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of axe-core, which npm installs."""
    npm = needs.program("npm")
    folder = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True, timeout=240)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
