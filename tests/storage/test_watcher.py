"""What tells the daemon that somebody has committed to a file."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from almirant_webhooks.storage.sqlite.watcher import Watcher


async def test_what_was_committed_before_it_watched_is_looked_at(tmp_path: Path) -> None:
    """Else an event that is inserted right after a start waits for the next poll."""
    await looked_at(tmp_path, after=0.0)


@pytest.mark.long
async def test_a_commit_half_a_second_after_its_write_is_looked_at(tmp_path: Path) -> None:
    """A producer whose disk syncs for that long is seen to write before, and at its commit it writes nothing that is seen."""
    await looked_at(tmp_path, after=0.5)


async def looked_at(folder: Path, after: float) -> None:
    """Wait until a watcher looks, so many seconds after it has begun or later, without a poll or another write."""
    looked, seconds = asyncio.Event(), asyncio.get_running_loop().time
    begun = seconds()

    def look(first: bool) -> None:
        if seconds() >= begun + after:
            looked.set()

    watching = asyncio.create_task(Watcher([folder / "hooks.db"], look, every=3600).run())
    async with asyncio.timeout(60):
        await looked.wait()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
