"""What a producer waits for an event to arrive: from the begin of its INSERT in another process to the request at the receiver."""

from __future__ import annotations

from collections.abc import Iterator

from .steady import Run, measure, words
from .table import Figure, Sizes, quantile
from .turns import Turns

INTERVAL = 0.02  # seconds between two events
HALF = 0.5  # of what release 0.1.0 takes


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the whole way beside its two parts: the INSERT, and from its commit."""
    turns: Turns[Run] = Turns(sizes.beside)
    for _ in sizes.rounds:
        turns.take(lambda release: measure(sizes.of(1500, 100), INTERVAL, release=release))
    name = f"from the begin of an INSERT to the arrival, at {1 / INTERVAL:.0f} events/s"
    yield Figure(
        name,
        words([run.calls for run in turns.this]),
        f"from the commit {words([run.delays for run in turns.this])}; "
        f"the INSERTs {words([run.inserts for run in turns.this])}",
    )
    yield from turns.compared(f"{name}: p50", lambda run: quantile(run.calls, 0.5), "{:.1f} ms", most=HALF)
    yield from turns.compared(f"{name}: p99", lambda run: quantile(run.calls, 0.99), "{:.1f} ms", most=HALF)
    yield from turns.compared(f"{name}, from the commit: p50", lambda run: quantile(run.delays, 0.5), "{:.1f} ms")
    yield from turns.compared(f"{name}, from the commit: p99", lambda run: quantile(run.delays, 0.99), "{:.1f} ms")
