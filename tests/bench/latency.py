"""Latency, from the commit of an INSERT in another process to the arrival at the receiver: at a steady rate, and after silence."""

from __future__ import annotations

from collections.abc import Iterator

from .steady import measure, middle, words
from .table import Figure, Sizes


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield both, each beside what the INSERTs themselves took."""
    steady = [measure(sizes.of(2000, 100), 0.01) for _ in sizes.rounds]
    delays = [run.delays for run in steady]
    yield Figure(
        "latency at 100 events/s",
        words(delays),
        f"the INSERTs {words([run.inserts for run in steady])}",
        "p50 ≤ 5 ms, p99 ≤ 30 ms",
        middle(delays, 0.5) <= 5 and middle(delays, 0.99) <= 30,
    )
    silent = [measure(sizes.of(8, 1), 5.0) for _ in sizes.rounds]
    delays = [run.delays for run in silent]
    yield Figure(
        "latency after 5 s of silence",
        f"p50 {middle(delays, 0.5):.1f} ms",
        f"the INSERTs p50 {middle([run.inserts for run in silent], 0.5):.1f} ms",
        "p50 ≤ 10 ms",
        middle(delays, 0.5) <= 10,
    )
