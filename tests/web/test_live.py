"""A look at a page that shows the same gets no page again."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from almirant_webhooks import clock

from ..conftest import Receiver
from .test_pages import Pages, pages

__all__ = ["pages"]


async def _look(pages: Pages, path: str, mark: str, *, live: bool = True) -> tuple[int, str]:
    headers = {**pages.cookie("proj_1"), "If-None-Match": mark, **({"X-Live": "1"} if live else {})}
    async with pages.client.get(path, headers=headers) as answer:
        text = await answer.text()
        assert answer.status == 200 or not text
        return answer.status, answer.headers["ETag"]


async def test_a_look_is_answered_with_nothing_until_the_page_shows_something_else(
    pages: Pages, receiver: Receiver
) -> None:
    """A browser that loads the page anew gets it whole, and somebody's wrong mark is no mark."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    for number, path in enumerate(("/webhooks", f"/webhooks/{webhook.id}", "/deliveries")):
        text = await pages.get(path)
        (mark,) = re.findall(r'<main id="main" data-mark="(\w+)"', text)
        assert await _look(pages, path, f'"{mark}"') == (304, f'"{mark}"')
        assert await _look(pages, path, f'"{mark}"', live=False) == (200, f'"{mark}"')
        for wrong in ("", "*", mark, f'W/"{mark}"', '"0"', "x" * 200):
            assert (await _look(pages, path, wrong))[0] == 200, wrong
        service.insert({"n": path})
        await service.until(lambda count=number + 1: len(service.log(state="succeeded")) == count)  # type: ignore[misc]
        status, after = await _look(pages, path, f'"{mark}"')
        assert (status, after != f'"{mark}"') == (200, True), path


async def test_a_look_is_told_when_its_session_ends(pages: Pages) -> None:
    """An open page knew it from when it was loaded, and said that a session had ended which another tab went on with."""
    for ends in (timedelta(minutes=3), timedelta(minutes=6)):
        moment = clock.text(clock.now() + ends)
        cookie = pages.cookie("proj_1")
        pages.service.execute("UPDATE sessions SET expires_at = ?", moment)
        mark = ""
        for path, status in (("/webhooks", 200), ("/webhooks", 304), ("/webhooks/new", 200), ("/nowhere", 404)):
            headers = {**cookie, "X-Live": "1", "If-None-Match": mark}
            async with pages.client.get(path, headers=headers) as answer:
                assert (answer.status, answer.headers["X-Session-Ends"]) == (status, moment)
                mark = answer.headers.get("ETag", "")
        async with pages.client.head("/webhooks/new", headers={**cookie, "X-Live": "1"}) as answer:
            assert answer.headers["X-Session-Ends"] == moment


@pytest.mark.parametrize("path", ["/webhooks/new", "/resends/new"])
async def test_a_page_that_looks_at_nothing_has_no_mark(pages: Pages, path: str) -> None:
    """A form keeps what is typed: nobody looks again."""
    assert "data-mark" not in await pages.get(path)
