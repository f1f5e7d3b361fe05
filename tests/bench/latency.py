"""Latency, from the commit of an INSERT in another process to the arrival at the receiver: at a steady rate, and after silence."""

from __future__ import annotations

from collections.abc import Iterator

from .steady import Run, measure, middle, words
from .table import Figure, Sizes, quantile
from .turns import Turns


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield both, each beside what the INSERTs themselves took."""
    steady: Turns[Run] = Turns(sizes.beside)
    for _ in sizes.rounds:
        steady.take(lambda release: measure(sizes.of(2000, 100), 0.01, release=release))
    delays = [run.delays for run in steady.this]
    yield Figure(
        "latency at 100 events/s",
        words(delays),
        f"the INSERTs {words([run.inserts for run in steady.this])}",
        "p50 ≤ 5 ms, p99 ≤ 30 ms",
        middle(delays, 0.5) <= 5 and middle(delays, 0.99) <= 30,
    )
    yield from steady.compared("latency at 100 events/s: p50", lambda run: quantile(run.delays, 0.5), "{:.1f} ms")
    yield from steady.compared("latency at 100 events/s: p99", lambda run: quantile(run.delays, 0.99), "{:.1f} ms")
    silent: Turns[Run] = Turns(sizes.beside)
    for _ in sizes.rounds:
        silent.take(lambda release: measure(sizes.of(8, 1), 5.0, release=release))
    delays = [run.delays for run in silent.this]
    yield Figure(
        "latency after 5 s of silence",
        f"p50 {middle(delays, 0.5):.1f} ms",
        f"the INSERTs p50 {middle([run.inserts for run in silent.this], 0.5):.1f} ms",
        "p50 ≤ 10 ms",
        middle(delays, 0.5) <= 10,
    )
    yield from silent.compared("latency after 5 s of silence: p50", lambda run: quantile(run.delays, 0.5), "{:.1f} ms")
