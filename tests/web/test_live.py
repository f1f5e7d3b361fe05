"""A look at a page that shows the same gets no page again."""

from __future__ import annotations

import re

import pytest

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


@pytest.mark.parametrize("path", ["/webhooks/new", "/resends/new"])
async def test_a_page_that_looks_at_nothing_has_no_mark(pages: Pages, path: str) -> None:
    """A form keeps what is typed: nobody looks again."""
    assert "data-mark" not in await pages.get(path)
