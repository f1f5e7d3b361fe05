"""The main paths in Debian's Firefox, which `puppeteer-core` drives by WebDriver BiDi (Playwright drives a build of its own)."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.rules.signing import signature

from ..conftest import Receiver
from ..support import needs
from .scene import Scene

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent / "firefox"


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script that drives the browser, beside `puppeteer-core`, which npm installs."""
    npm = needs.program("npm")
    needs.program("firefox-esr")
    folder = tmp_path_factory.mktemp("firefox")
    for path in HERE.iterdir():
        shutil.copy(path, folder)
    subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True, timeout=600)
    return folder / "drive.mjs"


class Firefox:
    """A page in Firefox; each method is an action of `drive.mjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, action: str, *words: str) -> Any:
        """Have an action done, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([action, *words]).encode() + b"\n")
        await self._process.stdin.drain()
        line = await asyncio.wait_for(self._process.stdout.readline(), 100)
        answer = json.loads(line or '{"error": "the browser is gone"}')
        assert "error" not in answer, (action, words, answer["error"])
        return answer["answer"]


@asynccontextmanager
async def firefox(driver: Path, *, script: bool) -> AsyncIterator[Firefox]:
    """A browser that gets the pages' scripts or does not, closed in the end."""
    words = [needs.program("node"), str(driver), needs.program("firefox-esr"), json.dumps(script)]
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=driver.parent
    )
    try:
        yield Firefox(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_the_main_paths_work_in_firefox(driver: Path, portal: Scene, receiver: Receiver, script: bool) -> None:
    """A link, a webhook, its secret, a test, a failure in the log, a resend, a filter: as in Chromium.

    What a browser shows that runs no script at all (`noscript`) is looked at there.
    """
    service = portal.service
    async with firefox(driver, script=script) as page:
        await page.do("goto", portal.link("proj_1"))
        await page.do("leave", "form.stack button.primary")
        assert await page.do("see", "main h1") == "Webhooks"

        await page.do("goto", f"{portal.address}/webhooks/new")
        await page.do("write", "#url", receiver.url)
        await page.do("press", "input[name=events][value='work_item.*']")
        await page.do("leave", "form.stack button.primary")
        secret = (await page.do("see", "#secret")).strip()
        assert secret.startswith("whsec_")

        await page.do("choose", "#event_type", "sprint.created")
        await page.do("leave", "form[action$='/test'] button")
        await service.until(lambda: service.log(state="succeeded"))
        sent = receiver.requests[0]
        assert sent.headers["X-Almirant-Signature"] == signature(sent.body, secret)
        assert sent.headers["X-Almirant-Event"] == "sprint.created"
        if not script:
            await page.do("reload")
        assert "Delivered: " in await page.do("see", ".outcome-card.is-succeeded")

        receiver.status = 503
        service.insert()
        await service.until(lambda: service.log(status="503"))
        delivery = service.log(status="503")[0]["delivery_id"]
        await page.do("goto", f"{portal.address}/deliveries?state=failed")
        assert await page.do("count", f"tbody a[href='/deliveries/{delivery}']") == 0, "it has attempts left"
        await page.do("goto", f"{portal.address}/deliveries")
        await page.do("leave", f"tbody a[href^='/deliveries/{delivery}']")
        assert "answered 503" in await page.do("see", "main")

        receiver.status = 200
        await page.do("leave", "form[action$='/resend'] button")
        await service.until(lambda: len(service.log(state="succeeded")) == 2)
        await page.do("reload")
        assert "succeeded" in await page.do("see", "main .sub")
        assert receiver.requests[1].body == receiver.requests[2].body

        await page.do("goto", f"{portal.address}/deliveries?state=succeeded&event_type=work_item.*")
        assert await page.do("count", "tbody tr") == 1
        if script:
            await page.do("press", "[data-pick=f-since]")
            picked = await page.do("value", "[data-pick=f-since] + input")
            assert picked.endswith(":00"), "a date that is picked has a time"
