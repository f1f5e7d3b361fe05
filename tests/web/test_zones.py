"""A time that no script makes the reader's says that it is UTC, wherever it stands in a page."""

from __future__ import annotations

import re

from almirant_webhooks import clock
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import resends

from ..conftest import Receiver
from .test_pages import Pages, pages

__all__ = ["pages"]

# What the script shows in the reader's zone, what is sent, and what was: bodies, requests and fields.
_NOT_SAID = re.compile(
    r"<time\b.*?</time>|<pre\b.*?</pre>|<button[^>]* data-copy-text=.*?</button>|<script\b.*?</script>"
    r"|<thead><tr><th scope=\"col\">From \(UTC\).*?</table>"
    r"|<(?:input|option|a|form|div|main)\b[^>]*?(?= aria-label=|>)",
    re.DOTALL,
)
_NO_ZONE = re.compile(r".{0,40}\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?Z?(?! UTC)(?![\d:.Z]).{0,20}", re.DOTALL)


async def test_a_time_that_stays_as_it_is_says_that_it_is_utc(pages: Pages, receiver: Receiver) -> None:
    """Under "Times are of Europe/Madrid" it would be read as one of these: titles, labels, and what was erased."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    event, other = service.insert({"n": 1}, {"n": 2})
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    of_event = {row["event_id"]: row["delivery_id"] for row in service.log()}
    asked = Selection(webhook_id=webhook.id)
    resend = service.write(resends.start, asked, {webhook.id: 1}, actor="operator", now=clock.now())
    shown = [await pages.get(f"/deliveries/{of_event[other]}")]
    headers = {"Authorization": f"Bearer {service.keys().token}"}
    async with pages.client.post(f"/api/v1/events/{event}/erase", headers=headers) as answer:
        assert answer.status == 202
    paths = (
        f"/deliveries/{of_event[event]}", f"/events/{event}", f"/events/{other}", f"/resends/{resend}", "/resends",
        "/deliveries", "/events", "/audit", "/activity", "/webhooks", f"/webhooks/{webhook.id}", "/tokens",
    )  # fmt: skip
    shown += [await pages.get(path) for path in paths]
    shown.append(await pages.get("/sessions", None))
    assert " UTC" in "".join(shown)
    assert [found for page in shown for found in _NO_ZONE.findall(_NOT_SAID.sub("", page))] == []
