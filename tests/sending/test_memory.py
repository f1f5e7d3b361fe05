"""Memory of the daemon over a longer run beside receivers that do what no good one does."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from ..bench.daemon import Bench, memory_mb
from ..support.hostile import KINDS, all_of_them

HOSTILE = 50
WARM = 15  # seconds until code, caches and pools are there
LONG = 75
MOST = 15  # MB: pages of a database that grows are kept in memory, 32 MiB at most


@pytest.mark.slow
def test_memory_stays_flat_beside_fifty_hostile_webhooks(tmp_path: Path) -> None:
    """Each is sent an event a second, and takes the slots that it can get; nothing of an attempt stays behind."""
    bench = Bench(tmp_path, options='delivery.retry_schedule = ["0s"]')
    with all_of_them() as ports:
        for number, kind in zip(range(HOSTILE), itertools.cycle(KINDS), strict=False):
            bench.add_webhooks(f"http://127.0.0.1:{ports[kind]}", 1, project=f"bad{number}")
        with bench.running() as process:
            begin = time.monotonic()
            seen: dict[int, float] = {}
            for second in range(LONG + 1):
                for number in range(HOSTILE):
                    bench.insert(1, projects=1, project=f"bad{number}")
                seen[second] = memory_mb(process.pid)
                time.sleep(max(0.0, begin + second + 1 - time.monotonic()))
            attempts = bench.read("SELECT count(*) FROM attempts WHERE outcome IS NOT NULL")[0]
    assert attempts > 20 * LONG
    assert max(seen.values()) - seen[WARM] < MOST, seen
