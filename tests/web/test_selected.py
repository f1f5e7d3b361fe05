"""Resending what is selected, when not all of it can be sent."""

from __future__ import annotations

from multidict import MultiDict

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks

from ..conftest import Receiver
from .test_pages import Pages, pages

__all__ = ["pages"]


async def _resend(pages: Pages, *ids: str, project: str = "proj_1") -> tuple[int, str]:
    form = MultiDict([("back", "/deliveries"), *(("id", each) for each in ids)])
    async with pages.client.post(
        "/deliveries/resend", data=form, headers=pages.cookie(project), allow_redirects=False
    ) as answer:
        return answer.status, answer.headers.get("Location", "")


async def test_one_that_cannot_be_sent_leaves_the_others_their_resend(pages: Pages, receiver: Receiver) -> None:
    """A held delivery among those that are selected is left out, and the page says how many were."""
    service = pages.service
    service.webhook(receiver.url)
    off = service.webhook(receiver.url)
    service.write(webhooks.disable, off.id, clock.now())
    service.insert()
    await service.until(lambda: service.log(state="succeeded") and service.log(state="held"))
    good, held = service.log(state="succeeded")[0]["delivery_id"], service.log(state="held")[0]["delivery_id"]
    status, place = await _resend(pages, good, held)
    assert (status, place) == (303, "/deliveries?done=resent-some&n=1&left=1")
    await service.until(lambda: len(receiver.requests) == 2)
    assert "1 sent again; 1 left out" in await pages.get(place)
    status, place = await _resend(pages, held)
    assert (status, place) == (303, "/deliveries?done=resent-none&n=0&left=1")
    assert "None of the 1 can be sent again" in await pages.get(place)
    for odd in ("done=resent-some", "done=resent-some&n=x&left=1", "done=resent-some&n={0}&left=1", "done={n}"):
        await pages.get(f"/deliveries?{odd}")
    assert (await _resend(pages, good, project="proj_2"))[0] == 404
    assert (await _resend(pages, good, "dlv_none"))[0] == 404


async def test_a_secret_that_is_typed_beside_generate_one_is_not_dropped(pages: Pages) -> None:
    """Without JavaScript the field is always there."""
    form = {"url": "https://example.com/in", "events": "*", "secret": "my own secret of 24 bytes"}
    status, _, text = await pages.post("/webhooks", **form, secret_kind="generated")
    assert status == 422
    assert "A secret is typed here" in text
    assert pages.service.read(webhooks.find) == []
    assert (await pages.post("/webhooks", **form, secret_kind="own"))[0] == 303
