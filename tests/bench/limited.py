"""What webhooks that wait for their rate limits cost: an idle daemon beside 10,000 of them, and a good webhook beside one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from .daemon import Bench, cpu_seconds, scratch
from .filling import fill_due
from .receiver import receiver
from .steady import measure, within_twice
from .table import Figure, Sizes, median

INTERVAL = 0.02  # seconds between two events of the good one


def _idle(webhooks: int, seconds: float, *, waiting: bool) -> float:
    """Return the share of a core, in percent, with webhooks that have used up their limit, or whose deliveries are for later."""
    with scratch() as bench, receiver(bench.folder) as there:
        made = bench.add_webhooks(there.url, webhooks)
        if waiting:
            bench.limit("1/h")
            fill_due(bench, made, 3 * webhooks)
        else:
            fill_due(bench, made, 2 * webhooks, within=7200)
        with bench.running() as process:
            if waiting:
                bench.wait_for(webhooks)
            time.sleep(3)
            before = cpu_seconds(process.pid)
            time.sleep(seconds)
            return (cpu_seconds(process.pid) - before) / seconds * 100


def _backlog(count: int, bench: Bench, url: str) -> None:
    made = bench.add_webhooks(f"{url}/limited", 1, projects=1, project="limited")
    bench.limit("10/s", "limited_0")
    fill_due(bench, made, count)


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the idle daemon's share of a core with and without, and the good one's delays alone and beside."""
    webhooks, seconds = sizes.of(10_000, 200), sizes.of(90, 4)  # everything is read anew every 30 s
    with_limits, without = [], []
    for _ in sizes.rounds:
        with_limits.append(_idle(webhooks, seconds, waiting=True))
        without.append(_idle(webhooks, seconds, waiting=False))
    more = median(with_limits) - median(without)
    yield Figure(
        f"idle, {webhooks:,} webhooks with a backlog each that wait for their rate limits",
        f"{median(with_limits):.2f} % of a core",
        f"with as much that is for later {median(without):.2f} %",
        "≤ 0.2 % more",
        more <= 0.2,
    )
    count, long = sizes.of(1000, 200), sizes.of(100_000, 20_000)
    alone, beside = [], []
    for _ in sizes.rounds:
        alone.append(measure(count, INTERVAL).delays)
        beside.append(measure(count, INTERVAL, lambda bench, url: _backlog(long, bench, url)).delays)
    title = f"a good webhook at 50 events/s beside one with a limit of 10/s and {long:,} deliveries that wait for it"
    yield within_twice(title, beside, alone)
