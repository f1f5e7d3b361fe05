"""What the pages tell people to do, and what they call things."""

from __future__ import annotations

import re

from .test_pages import Pages, pages

__all__ = ["pages"]


async def _rotated(pages: Pages, switch_after: str) -> str:
    """Replace a webhook's secret in a session; return the page that follows, with the new secret."""
    path = f"/webhooks/{pages.service.webhook('https://example.com/in').id}/rotate-secret"
    form = {"switch_after": switch_after}
    async with pages.client.post(path, data=form, headers=pages.cookie("proj_1")) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_who_replaces_a_secret_reads_which_one_signs_and_when(pages: Pages) -> None:
    """Until the switch the old secret signs: a page that said otherwise would make the receiver answer 401 for a day."""
    webhook = pages.service.webhook("https://example.com/in")
    question = await pages.get(f"/webhooks/{webhook.id}/rotate-secret")
    assert "the old secret goes on signing until then" in question
    assert "beside the old one" in question
    after = await _rotated(pages, "24h")
    assert "The secret was replaced" not in after
    assert "Put this secret into your receiver now" not in after
    assert "Put this secret into your receiver beside the old one" in after
    assert re.search(r"The old secret signs until <time .*; the new one signs from then on", after)


async def test_a_secret_that_signs_at_once_goes_into_the_receiver_now(pages: Pages) -> None:
    """There is nothing to wait for."""
    assert "Put this secret into your receiver now" in await _rotated(pages, "0s")
