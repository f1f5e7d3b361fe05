"""What idling costs, with 1,000 webhooks and nothing to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from .daemon import cpu_seconds, memory_mb, scratch
from .table import Figure, Sizes, median

WEBHOOKS = 1000
# The floor: the same libraries in memory and a loop that never wakes up.
_BARE = "import asyncio, uvloop, almirant_webhooks.daemon; uvloop.run(asyncio.Event().wait())"


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the share of a core and the memory, beside a process that has only loaded the libraries."""
    seconds = sizes.of(30, 2)
    core, memory, bare = [], [], []
    for _ in sizes.rounds:
        with scratch() as bench:
            bench.add_webhooks("http://127.0.0.1:9/in", WEBHOOKS)
            with bench.running() as process, subprocess.Popen([sys.executable, "-c", _BARE]) as floor:
                time.sleep(10)  # until the start is over
                before = cpu_seconds(process.pid)
                time.sleep(seconds)
                core.append((cpu_seconds(process.pid) - before) / seconds * 100)
                memory.append(memory_mb(process.pid))
                bare.append(memory_mb(floor.pid))
                floor.terminate()
    yield Figure(
        f"idle, {WEBHOOKS:,} webhooks",
        f"{median(core):.2f} % of a core, {median(memory):.0f} MB",
        f"its libraries alone {median(bare):.0f} MB",
        "≤ 0.5 %, ≤ 80 MB",
        median(core) <= 0.5 and median(memory) <= 80,
    )
