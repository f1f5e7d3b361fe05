"""A daemon of which a task ends by itself once it has started: the first word says how. Run as a script."""

from __future__ import annotations

import asyncio
import sys

from almirant_webhooks import cli
from almirant_webhooks.upkeep import observer

HOW = sys.argv.pop(1)


async def end(_: observer.Observer) -> None:
    await asyncio.sleep(0)
    if HOW == "raises":
        raise OSError("nothing that anybody thought of")
    if HOW == "is-cancelled":
        raise asyncio.CancelledError


if __name__ == "__main__":
    observer.Observer.run = end  # type: ignore[method-assign, assignment]
    cli.main()
