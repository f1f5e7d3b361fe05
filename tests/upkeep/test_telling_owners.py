"""What upkeep tells other daemons on the same database, as each of them then reads again all that is due."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from almirant_webhooks.model import RESERVED_PROJECT, Due
from almirant_webhooks.ops.heartbeat import Heartbeat
from almirant_webhooks.ops.metrics import Metrics
from almirant_webhooks.upkeep.observer import Observer

from ..support.service import Service


async def test_each_daemon_looks_at_operators_webhooks_by_itself_and_tells_nobody(service: Service) -> None:
    """They are looked at once a second: whoever told others each time would have all read everything, for ever."""
    storage = (await service.start()).storage
    webhook = service.webhook("https://example.com", project=RESERVED_PROJECT)
    seen: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
    told: list[Mapping[str, Due]] = []

    def see(webhooks: set[str], _: dict[str, Due]) -> None:
        asyncio.get_running_loop().call_soon(seen.set_result, webhooks)

    observer = Observer(
        storage.upkeep,
        storage.database,
        storage.outbox,
        storage.observing,
        Metrics(),
        Heartbeat(),
        due=see,
        tell_owners=told.append,
        failing=lambda: None,
        rests=lambda: "another daemon does this",
        store_bodies=lambda _: None,
    )
    task = asyncio.create_task(observer.run())
    assert await seen == {webhook.id}
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not told
