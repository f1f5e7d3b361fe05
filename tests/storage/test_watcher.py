"""What tells the daemon that somebody has committed to a file."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from almirant_webhooks.storage.sqlite.watcher import Watcher


async def test_what_was_committed_before_it_watched_is_looked_at(tmp_path: Path) -> None:
    """Else an event that is inserted right after a start waits for the next poll."""
    looked = asyncio.Event()

    async def look() -> None:
        looked.set()

    watching = asyncio.create_task(Watcher([tmp_path / "hooks.db"], [look], every=3600).run())
    async with asyncio.timeout(60):
        await looked.wait()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
