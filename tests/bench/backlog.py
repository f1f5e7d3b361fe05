"""A long backlog at the start: how soon the first request is answered, the most memory, and throughput, beside an empty start."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .daemon import check_rows, memory_mb, scratch
from .filling import fill_due
from .nginx import Nginx, nginx
from .table import Figure, Sizes, median
from .throughput import WEBHOOKS

_FIRST_ANSWER = "SELECT min((julianday(started_at) - 2440587.5) * 86400.0 + duration_ms / 1000.0) FROM attempts"


class _Start(NamedTuple):
    first: float
    memory: float
    rate: float


def _start(server: Nginx, due: int, events: int) -> _Start:
    """Start on deliveries that are due and an outbox of as many events as are then waited for."""
    with scratch() as bench:
        webhooks = bench.add_webhooks(server.http, WEBHOOKS)
        if due:
            fill_due(bench, webhooks, due)
        bench.insert(events, projects=WEBHOOKS)
        begin = time.time()
        with bench.running() as process:
            bench.wait_for(events)
            memory = memory_mb(process.pid, "VmHWM")
        return _Start(bench.read(_FIRST_ANSWER)[0] - begin, memory, check_rows(bench, events))


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the three, each beside that of an empty start in the same round."""
    due, events = sizes.of(1_000_000, 10_000), sizes.of(50_000, 2_000)
    empty, full = [], []
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for _ in sizes.rounds:
            empty.append(_start(server, 0, events))
            full.append(_start(server, due, events))
    first, memory, rate = (median(values) for values in zip(*full, strict=True))
    first_empty, memory_empty, rate_empty = (median(values) for values in zip(*empty, strict=True))
    name = f"{due:,} due at the start"
    yield Figure(f"{name}: first answer", f"{first:.2f} s", f"with none {first_empty:.2f} s", "≤ 2 s", first <= 2)
    yield Figure(
        f"{name}: most memory", f"{memory:.0f} MB", f"with none {memory_empty:.0f} MB", "≤ 200 MB", memory <= 200
    )
    yield Figure(
        f"{name}: throughput",
        f"{rate:,.0f}/s",
        f"{rate / rate_empty:.2f} of {rate_empty:,.0f}/s with none",
        "≥ 0.75",
        rate >= 0.75 * rate_empty,
    )
