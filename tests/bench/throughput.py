"""Throughput: an outbox full of events to 20 webhooks, beside a bare loop in the same run (HTTP, TLS, wide fan-out)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from .daemon import Bench, check_rows, cpu_seconds
from .nginx import Nginx, nginx
from .table import Figure, median

WEBHOOKS = 20
PER_WEBHOOK = 8
_RATE = """
SELECT count(*), (julianday(max(started_at)) - julianday(min(started_at))) * 86400.0 FROM attempts
"""


def bare_rate(server: Nginx, *, tls: bool, count: int) -> float:
    """Return requests per second of the bare loop, in a process of its own."""
    more = ["--ca-file", str(server.ca_file)] if tls else []
    url = server.tls if tls else server.http
    command = [sys.executable, "-m", "tests.bench.bare", url + "/in", str(count), str(WEBHOOKS * PER_WEBHOOK), *more]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def daemon_rate(server: Nginx, *, tls: bool, events: int, wide: bool = False) -> tuple[float, float]:
    """Return deliveries per second and microseconds of processor time for each, of a daemon started on a full outbox."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), f'egress.ca_file = "{server.ca_file}"' if tls else "")
        url = server.tls if tls else server.http
        if wide:
            bench.add_webhooks(url, 100 * 100, projects=100)
            bench.insert(max(100, events // 100), projects=100)
            expected = max(100, events // 100) * 100
        else:
            bench.add_webhooks(url, WEBHOOKS)
            bench.insert(events, projects=WEBHOOKS)
            expected = events
        with bench.running() as process:
            bench.wait_until("SELECT count(*) = ? FROM deliveries WHERE state = 'succeeded'", expected)
            cpu = cpu_seconds(process.pid)
        check_rows(bench, expected)
        count, seconds = bench.read(_RATE)
        return count / seconds, cpu / count * 1e6


def compare(name: str, server: Nginx, *, tls: bool, events: int, runs: int, reach: float, wide: bool = False) -> Figure:
    """Run both by turns and return the median ratio."""
    pairs = []
    for _ in range(runs):
        bare = bare_rate(server, tls=tls, count=events)
        rate, cpu = daemon_rate(server, tls=tls, events=events, wide=wide)
        pairs.append((rate / bare, rate, bare, cpu))
    ratio, rate, bare, cpu = (median([pair[part] for pair in pairs]) for part in range(4))
    return Figure(
        name,
        f"{rate:,.0f}/s, {ratio:.2f} of a bare loop's {bare:,.0f}/s, {cpu:.0f} µs of CPU each",
        f"≥ {reach:.2f}",
        ratio >= reach,
    )


def figures(*, quick: bool) -> list[Figure]:
    """Return the three figures of throughput."""
    events, runs = (2_000, 1) if quick else (50_000, 3)
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        return [
            compare("throughput, HTTP", server, tls=False, events=events, runs=runs, reach=0.6),
            compare("throughput, TLS", server, tls=True, events=events, runs=runs, reach=0.7),
            compare(
                "fan-out, 100 webhooks × 100 projects",
                server,
                tls=False,
                events=events,
                runs=runs,
                reach=0.6,
                wide=True,
            ),
        ]
