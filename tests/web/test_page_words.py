"""What the pages tell people to do, and what they call things."""

from __future__ import annotations

import re

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks

from ..conftest import Receiver
from .test_pages import Pages, pages
from .test_webhook_pages import words_of

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


async def test_pages_use_the_words_of_people_who_do_not_run_the_service(pages: Pages, receiver: Receiver) -> None:
    """No outbox, no path and no schedule of ours: a project's admin knows none of them."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    assert "An event tells of something that happened" in await pages.get("/events")
    assert "An event that cannot be sent" in await pages.get("/rejected")
    (event,) = service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    delivery = service.log()[0]["delivery_id"]
    paths = (
        "/webhooks",
        f"/webhooks/{webhook.id}",
        "/events",
        f"/events/{event}",
        f"/deliveries/{delivery}",
        "/rejected",
    )
    for path in paths:
        text = await pages.get(path)
        for word in ("outbox", "true path", "on schedule", "Taken"):
            assert word not in text, (path, word)
    shown = await pages.get(f"/deliveries/{delivery}")
    assert "1 of 5" not in shown, "it succeeded at once"
    assert re.search(r"Delivered: \S+ answered 200 in [\d,]+ ms\.", shown)
    assert "none planned" in shown


async def test_a_page_that_says_held_says_until_when(pages: Pages, receiver: Receiver) -> None:
    """Wherever the state, its chip or its filter stands."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    service.write(webhooks.disable, webhook.id, clock.now())
    (event,) = service.insert()
    await service.until(lambda: service.log(state="held"))
    path = f"/webhooks/{webhook.id}"
    for place, words in (
        ("/webhooks", "1 held until it is enabled"),
        (path, "1 held until it is enabled"),
        ("/deliveries", "held until its webhook is enabled"),
        ("/deliveries", "Held while off"),
        ("/deliveries", "held, as the webhook is off"),
        (f"{path}/deliveries?state=held", "held until its webhook is enabled"),
        (f"/deliveries/{service.log()[0]['delivery_id']}", "held until its webhook is enabled"),
        (f"/events/{event}", "The webhook is disabled; enabling it sends this."),
    ):
        assert words in words_of(await pages.get(place)), place


async def test_a_page_behind_the_end_of_the_list_says_so_and_leads_back(pages: Pages) -> None:
    """It does not say that there is none."""
    pages.service.webhook("https://example.com/in")
    text = await pages.get("/webhooks?page=9")
    assert "No webhooks yet" not in text
    assert "No webhooks on this page" in text
    assert 'href="/webhooks">To the first page' in text
    assert "No webhooks yet" in await pages.get("/webhooks", "proj_empty")


async def test_what_a_delivery_says_of_itself_is_live_with_its_attempts(pages: Pages, receiver: Receiver) -> None:
    """Else its head would say that it failed, or that a resend waits, above an attempt that went well."""
    service = pages.service
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    text = await pages.get(f"/deliveries/{service.log()[0]['delivery_id']}")
    live = re.findall(r'<(\w+)[^>]* data-live="(\w+)"[^>]*>(.*?)</\1>', text, re.DOTALL)
    parts = {name: inner for _, name, inner in live}
    assert "succeeded" in parts["state"]
    assert "Resend" in parts["resend"]
    assert "Next attempt" in parts["facts"]
    assert "attempts" in parts
