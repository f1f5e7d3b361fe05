"""Throughput: an outbox full of events to 20 webhooks, beside a bare loop in the same run (HTTP, TLS, wide fan-out)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .daemon import check_rows, cpu_seconds, scratch
from .nginx import Nginx, nginx
from .release import Release
from .table import Figure, Sizes, median
from .turns import Turns

WEBHOOKS = 20
PER_WEBHOOK = 8


class Speed(NamedTuple):
    """Requests a second, and microseconds of processor time for each."""

    rate: float
    cpu: float


def bare(server: Nginx, *, tls: bool, count: int) -> Speed:
    """Measure the bare loop, in a process of its own."""
    more = ["--ca-file", str(server.ca_file)] if tls else []
    url = server.tls if tls else server.http
    command = [sys.executable, "-m", "tests.bench.bare", url + "/in", str(count), str(WEBHOOKS * PER_WEBHOOK), *more]
    return Speed(*map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()))


def daemon(
    server: Nginx,
    *,
    tls: bool = False,
    events: int,
    wide: bool = False,
    release: Release | None = None,
    own_outbox: bool = False,
) -> Speed:
    """Measure a daemon that is started on a full outbox."""
    trust = f'egress.ca_file = "{server.ca_file}"' if tls else ""
    with scratch(trust, release=release, own_outbox=own_outbox) as bench:
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
            bench.wait_for(expected)
            cpu = cpu_seconds(process.pid)
        return Speed(check_rows(bench, expected), cpu / expected * 1e6)


def _compare(
    sizes: Sizes, name: str, reach: float, times: float, *, tls: bool = False, wide: bool = False
) -> Iterator[Figure]:
    """Run all by turns and yield the median ratio to a bare loop, and that to another release."""
    events = sizes.of(50_000, 2_000)
    floors: list[Speed] = []
    turns: Turns[Speed] = Turns(sizes.beside)
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for _ in sizes.rounds:
            floors.append(bare(server, tls=tls, count=events))
            turns.take(lambda release: daemon(server, tls=tls, events=events, wide=wide, release=release))
    own = turns.this
    ratios = [one.rate / floor.rate for one, floor in zip(own, floors, strict=True)]
    yield Figure(
        name,
        f"{median(one.rate for one in own):,.0f}/s, {median(one.cpu for one in own):.0f} µs of CPU each",
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of a bare loop's "
        f"{median(one.rate for one in floors):,.0f}/s, {median(one.cpu for one in floors):.0f} µs",
        f"≥ {reach:.2f}",
        median(ratios) >= reach,
    )
    yield from turns.compared(name, lambda one: one.rate, "{:,.0f}/s", least=times)
    yield from turns.compared(f"{name}: processor time", lambda one: one.cpu, "{:.0f} µs")


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the figure over HTTP."""
    return _compare(sizes, "throughput, HTTP", 0.75, 1.7)


def tls(sizes: Sizes) -> Iterator[Figure]:
    """Yield the figure over TLS."""
    return _compare(sizes, "throughput, TLS", 1.0, 1.7, tls=True)


def fan_out(sizes: Sizes) -> Iterator[Figure]:
    """Yield the figure of events that go to 100 webhooks each."""
    return _compare(sizes, "fan-out, 100 webhooks × 100 projects", 0.9, 2.2, wide=True)
