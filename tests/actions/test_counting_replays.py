"""A replay is counted in short parts, which together are what one look finds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import replays as actions
from almirant_webhooks.cli.run_action import CommandDatabase
from almirant_webhooks.model import Refused
from almirant_webhooks.rules.principals import Principal, Role
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.storage.sql import replays

from ..support.service import Service


@pytest.mark.parametrize("part", [1, 2, 3, 100])
async def test_the_parts_of_a_count_are_together_the_whole(
    service: Service, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever falls into the same moment; with an end and without; and it ends where it takes too long."""
    await service.start()
    for kind in ("work_item.created", "lead.created", "work_item.moved", "lead.updated", "work_item.archived"):
        service.insert({"n": 1}, kind=kind)
    service.insert({"n": 1}, {"n": 2}, {"n": 3}, kind="work_item.created")
    await service.until(lambda: service.read(_taken) == 8)
    webhook = service.webhook("https://example.com/in", "work_item.*")
    await service.stop()
    now, database, settings = clock.now(), CommandDatabase(service.settings()), service.settings()
    selection = ReplaySelection(webhook.id, now - timedelta(hours=1))
    ended = ReplaySelection(webhook.id, now - timedelta(hours=1), now)
    operator = Principal(Role.OPERATOR)
    monkeypatch.setattr(replays, "PART", part)
    for asked in (selection, ended):
        counted = await actions.count(database, operator, asked, now=now, settings=settings)
        whole = service.read(replays.count, asked, now=now, kept=settings.retention.shortest)
        assert counted == whole
        assert counted["events"] == 6
    if part < 3:
        with pytest.raises(Refused, match="It takes more than 0 s to count that; narrow it by time"):
            await actions.count(database, operator, selection, now=now, settings=settings, within=0)


def _taken(conn: object) -> int:
    return int(conn.execute("SELECT count(*) FROM events").fetchone()[0])  # type: ignore[attr-defined]
