"""`stats` where several daemons share a database."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from almirant_webhooks.rules.buckets import BUCKETS

from ..support.daemons import Daemons, project_in
from ..support.postgres_service import shell_of_all

pytestmark = pytest.mark.long


async def test_stats_names_each_daemon_with_what_it_owns(daemons: Daemons, tmp_path: Path) -> None:
    """By its id; where none is there it says nothing of daemons."""
    shell = shell_of_all(daemons, tmp_path)
    assert "daemons" not in json.loads(await asyncio.to_thread(shell.ours, "stats", "--json"))
    other = Daemons(tmp_path, daemons)
    try:
        for name, service in (("left", daemons), ("right", other)):
            service.options["daemon"] = {"name": name}
            await service.start(migrating=False)
        left, right = await daemons.until_shared(BUCKETS // 2, BUCKETS // 2)
        for buckets, count in ((left, 1), (right, 2)):
            for bucket in sorted(buckets)[:count]:
                daemons.webhook("http://127.0.0.1:9/", project=project_in([bucket]))
        found = json.loads(await asyncio.to_thread(shell.ours, "stats", "--json"))["daemons"]
        assert found.keys() == daemons.shares().keys()
        owned = {re.sub(r", since .*", "", text) for text in found.values()}
        assert owned == {
            "left owns 32 of 64 buckets with 1 projects",
            "right owns 32 of 64 buckets with 2 projects",
        }
        text = await asyncio.to_thread(shell.ours, "stats")
        assert all(sentence in text for sentence in found.values())
    finally:
        await other.close()
