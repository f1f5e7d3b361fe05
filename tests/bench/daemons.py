"""Several daemons on one database in PostgreSQL beside one alone, by turns: how much they deliver, and whom a backlog delays."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from .daemon import cpu_seconds
from .nginx import Nginx, free_port, nginx
from .postgres import RECORDED, WholeBench, own_server, server_cpu, whole
from .table import Figure, Sizes, median

COUNTS = (1, 2, 4)
WEBHOOKS = 128  # each in a project of its own, so that every daemon has some
_SHARES = "SELECT count(*) FROM (SELECT FROM buckets WHERE daemon_id IS NOT NULL GROUP BY daemon_id) d"
_FREE = "SELECT count(*) FROM buckets WHERE daemon_id IS NULL"


class Spent(NamedTuple):
    """Requests a second, and microseconds of processor time for each, of all daemons together and of the server."""

    rate: float
    daemons: float
    server: float


@contextmanager
def sharing(bench: WholeBench, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run so many daemons; yields once each has its share of the projects."""
    with ExitStack() as stack:
        benches = [bench, *(bench.beside(number, free_port()) for number in range(1, count))]
        processes = [stack.enter_context(one.running()) for one in benches]
        bench.wait_until(f"SELECT ({_SHARES}) = {count} AND ({_FREE}) = 0")
        yield processes


def _speed(bench: WholeBench, receivers: Nginx, count: int, events: int) -> Spent:
    """Measure from the insertion of all events to the end of the last delivery."""
    bench.add_webhooks(receivers.http, WEBHOOKS)
    with sharing(bench, count) as processes:
        before, served = sum(cpu_seconds(one.pid) for one in processes), server_cpu(bench.server)
        bench.insert(events, projects=WEBHOOKS)
        bench.wait_until("SELECT count(*) >= ? FROM attempts", events)
        spent = sum(cpu_seconds(one.pid) for one in processes) - before, server_cpu(bench.server) - served
    found, succeeded, first, last = bench.there.ask(RECORDED)[0]
    if found != events or succeeded != events:
        raise SystemExit(f"{succeeded} of {found} attempts succeeded, for {events}: this run does not count.")
    seconds = (last - first).total_seconds()
    return Spent(events / seconds, *(one / events * 1e6 for one in spent))


def _go_on(writers: list[subprocess.Popen[str]]) -> None:
    for one in writers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()


def _written(bench: WholeBench, count: int, events: int) -> Spent:
    """Measure so many processes that write what daemons write, and send nothing: what the server alone takes."""
    bench.add_webhooks("http://127.0.0.1:9", WEBHOOKS)
    bench.insert(events, projects=WEBHOOKS)
    command = [sys.executable, "-m", "tests.bench.writers", bench.there.url, str(bench.key)]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(number), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for number in range(count)
        ]
        for one in writers:
            assert one.stdout is not None
            one.stdout.readline()
        served, begun = server_cpu(bench.server), time.monotonic()
        used = sum(cpu_seconds(one.pid) for one in writers)
        _go_on(writers)
        bench.wait_until("SELECT count(*) >= ? FROM attempts", events)
        seconds = time.monotonic() - begun
        spent = sum(cpu_seconds(one.pid) for one in writers) - used, server_cpu(bench.server) - served
        _go_on(writers)
    return Spent(events / seconds, *(one / events * 1e6 for one in spent))


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the throughput of several daemons on one machine, and what the server's processor time says of more machines."""
    events = sizes.of(20_000, 1_000)
    runs: dict[int, list[Spent]] = {count: [] for count in COUNTS}
    written: dict[int, list[Spent]] = {count: [] for count in COUNTS}
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as receivers, own_server() as server:
        for _ in sizes.rounds:
            for count in COUNTS:
                with whole(server) as bench:
                    runs[count].append(_speed(bench, receivers, count, events))
                with whole(server) as bench:
                    written[count].append(_written(bench, count, events))
    for count in COUNTS:
        ratios = [own.rate / one.rate for own, one in zip(runs[count], runs[1], strict=True)]
        yield Figure(
            f"throughput with {count} daemon{'s' * (count > 1)} on one database, on the same cores",
            f"{median(run.rate for run in runs[count]):,.0f}/s, {median(run.daemons for run in runs[count]):.0f} µs of the daemons' CPU "
            f"and {median(run.server for run in runs[count]):.0f} µs of the server's each",
            f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of one alone" if count > 1 else "",
            "≥ 1.00 of one" if count > 1 else "",
            median(ratios) >= 1.0 if count > 1 else None,
        )
    for count in COUNTS:
        yield Figure(
            f"what the server takes of {count} process{'es' * (count > 1)} that write{'s' * (count == 1)} the same and send nothing",
            f"{median(run.rate for run in written[count]):,.0f}/s, {median(run.daemons for run in written[count]):.0f} µs of the "
            f"writers' CPU and {median(run.server for run in written[count]):.0f} µs of the server's each",
            "",
        )
    one = runs[1]
    yield Figure(
        "what a core of the server takes by that, and how many daemons of one core each it serves",
        f"{1e6 / median(run.server for run in one):,.0f}/s, {median(run.daemons / run.server for run in one):.1f} daemons",
        "",
    )
