"""Counts that people wait for end at a limit, and say so."""

from __future__ import annotations

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks

from ..support.service import Service


async def test_the_deliveries_of_a_webhook_are_counted_up_to_a_limit(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question before deleting one looked at each of a million."""
    monkeypatch.setattr(webhooks, "MOST_COUNTED", 2)
    await service.start()
    webhook = service.webhook("https://example.com/in")
    service.write(webhooks.disable, webhook.id, clock.now())
    for events in (1, 2, 3):
        service.insert()
        await service.until(lambda: len(service.log(state="held")) == events)  # noqa: B023
        assert service.read(webhooks.delivery_count, webhook.id) == (min(events, 2), events <= 2)
