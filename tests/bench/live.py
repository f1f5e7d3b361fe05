"""Live flow: what is delivered while producers commit events one by one as fast as they can, and what their INSERTs take."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .daemon import check_rows, scratch
from .flood import Flood, flood
from .nginx import Nginx, nginx
from .release import Release
from .steady import words
from .table import Figure, Sizes, median
from .throughput import WEBHOOKS, daemon
from .turns import Turns

REACH = {1: 20.0, 4: 40.0}  # producers, and milliseconds of an INSERT in 99 of 100 cases
FILES = {"in one file": False, "with an outbox of its own": True}
TIMES = {False: 1.5, True: 1.3}  # of what release 0.1.0 delivers in a second
_SUCCEEDED_BEFORE = """
SELECT count(*) FROM attempt_log
WHERE outcome = 'success' AND (julianday(started_at) - 2440587.5) * 86400.0 + duration_ms / 1000.0 <= ?
"""


class _Live(NamedTuple):
    rate: float  # deliveries a second that succeeded before the producers' end
    left: int  # events that had not yet
    produced: Flood


def _live(server: Nginx, producers: int, seconds: float, release: Release | None, *, own_outbox: bool) -> _Live:
    """Let producers insert beside a daemon, and wait until all has been delivered."""
    with scratch(release=release, own_outbox=own_outbox) as bench:
        bench.add_webhooks(server.http, WEBHOOKS)
        with bench.running():
            produced = flood(bench.outbox, producers, seconds, projects=WEBHOOKS)
            bench.wait_for(len(produced.inserts))
        check_rows(bench, len(produced.inserts))
        succeeded = int(bench.read(_SUCCEEDED_BEFORE, produced.end)[0])
        return _Live(succeeded / (produced.end - produced.begin), max(0, len(produced.inserts) - succeeded), produced)


def _alone(producers: int, seconds: float) -> Flood:
    """Let the producers insert where no daemon runs."""
    with scratch() as bench:
        return flood(bench.outbox, producers, seconds, projects=WEBHOOKS)


def _inserts(runs: list[Flood]) -> str:
    return f"{median(run.rate for run in runs):,.0f} INSERTs/s, {words([run.inserts for run in runs])}"


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the flow of one and of four producers, in one file and with an outbox of its own."""
    seconds, events = sizes.of(20, 2), sizes.of(50_000, 2_000)
    alone: dict[int, list[Flood]] = {producers: [] for producers in REACH}
    full: dict[bool, list[float]] = {own_outbox: [] for own_outbox in FILES.values()}
    cases = [(producers, where) for where in FILES for producers in REACH]
    turns: dict[tuple[int, str], Turns[_Live]] = {case: Turns(sizes.beside) for case in cases}
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for _ in sizes.rounds:
            for producers, runs in alone.items():
                runs.append(_alone(producers, seconds))
            for own_outbox, rates in full.items():
                rates.append(daemon(server, events=events, own_outbox=own_outbox).rate)
            for producers, where in cases:
                turns[producers, where].take(
                    lambda release, producers=producers, own_outbox=FILES[where]: _live(  # type: ignore[misc]
                        server, producers, seconds, release, own_outbox=own_outbox
                    )
                )
    for producers, where in cases:
        name = f"live flow, {producers} producer{'s' if producers > 1 else ''}, {where}"
        yield from _show(name, turns[producers, where], alone[producers], full[FILES[where]], REACH[producers])
        yield from turns[producers, where].compared(
            f"{name}: events delivered", lambda run: run.rate, "{:,.0f}/s", least=TIMES[FILES[where]]
        )
        yield from turns[producers, where].compared(
            f"{name}: the INSERTs' p99", lambda run: run.produced.p99, "{:.1f} ms"
        )


def _show(name: str, turns: Turns[_Live], alone: list[Flood], full: list[float], reach: float) -> Iterator[Figure]:
    """Yield what this tree did."""
    runs = turns.this
    shares = [run.rate / rate for run, rate in zip(runs, full, strict=True)]
    p99 = median(run.produced.p99 for run in runs)
    yield Figure(
        name,
        f"{median(run.rate for run in runs):,.0f} events/s delivered, {median(run.left for run in runs):,.0f} left at "
        f"the producers' end; {_inserts([run.produced for run in runs])}",
        f"without a daemon {_inserts(alone)}; {median(shares):.2f} of a full outbox's {median(full):,.0f}/s",
        f"the INSERTs' p99 ≤ {reach:.0f} ms",
        p99 <= reach,
    )
