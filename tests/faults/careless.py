"""Daemons with seeded bugs, run as a script whose first word says which."""

from __future__ import annotations

import asyncio
import sys

from almirant_webhooks import cli
from almirant_webhooks.delivery import health
from almirant_webhooks.ops import guard
from almirant_webhooks.storage.engine import StorageError
from almirant_webhooks.storage.sql import results


async def look_away(_: guard.Guard) -> None:
    """Files that are deleted, replaced or damaged are not noticed."""
    await asyncio.Event().wait()


def forget(*_: object) -> int:
    """What was in flight at a crash stays in flight."""
    return 0


def hope(_: StorageError) -> bool:
    """Whatever fails is tried again for ever."""
    return False


if __name__ == "__main__":
    bug = sys.argv.pop(1)
    if bug == "looks-away":
        vars(health)["is_beyond_repair"] = hope
        guard.Guard.run = look_away  # type: ignore[method-assign, assignment]
    elif bug == "forgets":
        vars(results)["interrupt_open"] = forget
    cli.main()
