"""A good webhook alone, and beside 50 hostile ones of every kind: its latency, and what the daemon's memory does."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

from ..hostile import KINDS, all_of_them
from .daemon import Bench, rss_mb
from .latency import delays, quantile
from .producer import producing
from .receiver import receiver
from .table import Figure

HOSTILE = 50
BACKLOG = 100  # events for each hostile webhook: it has something due all the time


def measure(count: int, *, beside: bool) -> tuple[list[float], float, float]:
    """Return the delays of the good webhook at 50 events/s, and the daemon's memory in MB before and after."""
    with (
        tempfile.TemporaryDirectory() as folder,
        receiver(Path(folder)) as there,
        all_of_them() as ports,
    ):
        bench = Bench(Path(folder))
        bench.add_webhooks(f"{there.url}/ok", 1)
        for number, kind in zip(range(HOSTILE if beside else 0), itertools.cycle(KINDS), strict=False):
            bench.add_webhooks(f"http://127.0.0.1:{ports[kind]}", 1, project=f"bad{number}")
            bench.insert(BACKLOG, projects=1, project=f"bad{number}")
        with bench.running() as process:
            before = rss_mb(process.pid)
            bench.insert(1, projects=1)
            bench.wait_until("SELECT count(*) = 0 FROM outbox WHERE fanned_out_at IS NULL")
            with producing(bench.database, "proj_0", count=count, interval=0.02) as committed:
                pass
            good = "SELECT count(*) = ? FROM deliveries WHERE state = 'succeeded' AND webhook_id = (SELECT id FROM webhooks WHERE project_id = 'proj_0')"
            bench.wait_until(good, count + 1)
            after = rss_mb(process.pid)
    return delays(committed, there), before, after


def figures(*, quick: bool) -> list[Figure]:
    """Return both latencies side by side, and the memory."""
    count = 100 if quick else 3000
    alone, _, _ = measure(count, beside=False)
    beside, before, after = measure(count, beside=True)
    p50, p99 = quantile(alone, 0.5), quantile(alone, 0.99)
    p50_beside, p99_beside = quantile(beside, 0.5), quantile(beside, 0.99)
    return [
        Figure(
            "a good webhook at 50 events/s beside 50 hostile ones",
            f"p50 {p50_beside:.1f} ms, p99 {p99_beside:.1f} ms; alone p50 {p50:.1f} ms, p99 {p99:.1f} ms "
            f"(load {os.getloadavg()[0]:.1f})",
            "p99 at most twice",
            p99_beside <= 2 * p99,
        ),
        Figure(
            "memory beside 50 hostile webhooks",
            f"{before:.0f} MB at the start, {after:.0f} MB after {count // 50} s",
            "≤ 60 MB more",
            after - before <= 60,
        ),
    ]
