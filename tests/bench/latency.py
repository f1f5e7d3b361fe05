"""Latency, from the commit of an INSERT in another process to the arrival at the receiver; and what idling costs."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from .daemon import Bench, cpu_seconds, rss_mb
from .producer import producing
from .receiver import Receiver, receiver
from .table import Figure


def delays(committed: dict[str, float], there: Receiver) -> list[float]:
    """Return the milliseconds of each event, in order; one that did not arrive ends the run."""
    missing = committed.keys() - there.arrivals.keys()
    if missing or not committed:
        raise SystemExit(f"{len(missing)} of {len(committed)} events did not arrive: this run does not count.")
    return sorted(max(0.0, there.arrivals[event] - moment) * 1000 for event, moment in committed.items())


def quantile(ordered: list[float], part: float) -> float:
    """Return the value below which a part of them is."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def measure(count: int, interval: float) -> list[float]:
    """Return the delays of events at a steady rate, after a first one that opens the connection."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        with receiver(Path(folder)) as there:
            bench.add_webhooks(f"{there.url}/ok", 1)
            with bench.running():
                bench.insert(1, projects=1)
                bench.wait_until("SELECT count(*) = 1 FROM deliveries WHERE state = 'succeeded'")
                with producing(bench.database, "proj_0", count=count, interval=interval) as committed:
                    pass
                bench.wait_until("SELECT count(*) = ? FROM deliveries WHERE state = 'succeeded'", count + 1)
        return delays(committed, there)


def idle(webhooks: int, seconds: float) -> tuple[float, float]:
    """Return the percentage of a core and the megabytes of a daemon that has nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.add_webhooks("http://127.0.0.1:9/in", webhooks)
        with bench.running() as process:
            time.sleep(2)
            before = cpu_seconds(process.pid)
            time.sleep(seconds)
            return (cpu_seconds(process.pid) - before) / seconds * 100, rss_mb(process.pid)


def figures(*, quick: bool) -> list[Figure]:
    """Return latency at 100 events/s, after silence, and the cost of idling."""
    runs = 1 if quick else 3
    steady = [measure(100 if quick else 2000, 0.01) for _ in range(runs)]
    silent = [measure(1 if quick else 8, 5.0) for _ in range(runs)]
    idling = [idle(1000, 2 if quick else 30) for _ in range(runs)]
    p50, p99 = (statistics.median(quantile(run, part) for run in steady) for part in (0.5, 0.99))
    after = statistics.median(quantile(run, 0.5) for run in silent)
    core, memory = (statistics.median(run[part] for run in idling) for part in (0, 1))
    load = os.getloadavg()[0]
    return [
        Figure(
            "latency at 100 events/s",
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms (load {load:.1f})",
            "p50 ≤ 5 ms, p99 ≤ 30 ms",
            p50 <= 5 and p99 <= 30,
        ),
        Figure("latency after 5 s of silence", f"p50 {after:.1f} ms", "p50 ≤ 10 ms", after <= 10),
        Figure(
            "idle, 1,000 webhooks",
            f"{core:.2f} % of a core, {memory:.0f} MB",
            "≤ 0.5 %, ≤ 80 MB",
            core <= 0.5 and memory <= 80,
        ),
    ]
