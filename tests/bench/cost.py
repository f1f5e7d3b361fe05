"""What a delivery costs in processor time, by part: the daemon run with its parts between looks at their threads' clocks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from almirant_webhooks.model import Options

from .bracketed import PARTS
from .daemon import check_rows, cpu_seconds, scratch
from .nginx import Nginx, nginx
from .release import Release
from .table import Figure, Sizes, median
from .throughput import WEBHOOKS, bare
from .turns import Turns

ON_LOOP = ("HTTP client", "scheduling", "logs and metrics")
SOCKETS = "event loop and sockets (uvloop)"
THREADS = "handing over between threads"


def _spent(server: Nginx, events: int) -> dict[str, float]:
    """Return the microseconds of a delivery by part; all of them together are what the process has used."""
    with scratch() as bench:
        bench.add_webhooks(server.http, WEBHOOKS)
        with bench.running(bracketed=True):
            bench.insert(events, projects=WEBHOOKS)
            bench.wait_for(events)
        check_rows(bench, events)
        read = json.loads((bench.folder / "spent.json").read_text())
    parts: dict[str, float] = read["parts"]
    if missing := PARTS - parts.keys():
        raise SystemExit(f"Nothing calls what these parts are counted by: {', '.join(sorted(missing))}.")
    of_loop = sum(parts.get(name, 0) for name in ON_LOOP)
    parts[SOCKETS] = read["loop"] - of_loop
    parts[THREADS] = read["whole"] - read["loop"] - (sum(parts.values()) - of_loop - parts[SOCKETS])
    return {name: nanoseconds / 1000 / events for name, nanoseconds in parts.items()}


def whole(url: str, events: int, release: Release | None = None, options: Options | None = None) -> float:
    """Return the microseconds of a delivery that the process has used since it was ready, its parts not counted."""
    with scratch(release=release) as bench:
        ids = bench.add_webhooks(url, WEBHOOKS)
        if options:
            bench.tell(ids, options)
        with bench.running() as process:
            before = cpu_seconds(process.pid)
            bench.insert(events, projects=WEBHOOKS)
            bench.wait_for(events)
            used = cpu_seconds(process.pid) - before
        check_rows(bench, events)
    return used / events * 1e6


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the whole cost beside that of a bare request and of another release, and then the parts, the dearest first."""
    events = sizes.of(50_000, 2_000)
    floors, runs = [], []
    turns: Turns[float] = Turns(sizes.beside)
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for _ in sizes.rounds:
            floors.append(bare(server, tls=False, count=events).cpu)
            runs.append(_spent(server, events))
            if sizes.beside is not None:
                turns.take(lambda release: whole(server.http, events, release))
    total = median(sum(run.values()) for run in runs)
    yield Figure("cost of a delivery", f"{total:.0f} µs of CPU", f"a bare loop {median(floors):.0f} µs")
    yield from turns.compared("cost of a delivery, its parts not counted", lambda used: used, "{:.0f} µs", most=0.55)
    parts = {name: median(run.get(name, 0.0) for run in runs) for name in runs[0]}
    for name, own in sorted(parts.items(), key=lambda one: -one[1]):
        yield Figure(f"cost: {name}", f"{own:.0f} µs", f"{own / total * 100:.0f} % of it")
