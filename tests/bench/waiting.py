"""What webhooks that wait for a later retry cost the others: a fresh event's processor time beside 10,000 of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from subprocess import Popen

from almirant_webhooks import clock

from .daemon import cpu_seconds, scratch
from .filling import fill
from .steady import measure
from .table import Figure, Sizes, median

INTERVAL = 0.02  # seconds between two fresh events


def _spent(events: int, waiting: int) -> float:
    """Return the daemon's microseconds for a fresh event, beside so many webhooks with a retry each in two hours."""
    looks: list[float] = []

    def note(process: Popen[bytes]) -> None:
        looks.append(cpu_seconds(process.pid))

    with scratch() as bench:
        if waiting:
            now = clock.now()
            webhooks = bench.add_webhooks("http://127.0.0.1:9/in", waiting, project="later")
            begin, due = now - timedelta(hours=1), now + timedelta(hours=2)
            fill(bench, webhooks, waiting, begin=begin, end=now, due=due)
        measure(events, INTERVAL, watch=note, bench=bench)
    return (looks[1] - looks[0]) * 1e6 / events


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield both side by side."""
    events, waiting = sizes.of(1500, 100), sizes.of(10_000, 1000)
    alone, beside = [], []
    for _ in sizes.rounds:
        alone.append(_spent(events, 0))
        beside.append(_spent(events, waiting))
    ratio = median(beside) / median(alone)
    yield Figure(
        f"a fresh event at {1 / INTERVAL:.0f}/s beside {waiting:,} webhooks with a retry each for later",
        f"{median(beside):.0f} µs of CPU, {ratio:.2f} times",
        f"alone {median(alone):.0f} µs",
        "≤ 1.1 times",
        ratio <= 1.1,
    )
