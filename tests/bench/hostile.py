"""A good webhook alone, and beside 50 hostile ones of every kind: its latency, and what the daemon's memory does."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from subprocess import Popen

from ..support.hostile import KINDS, all_of_them
from .daemon import Bench, memory_mb
from .producer import inserting
from .steady import Prepare, Run, measure, within_twice
from .table import Figure, Sizes, median, quantile
from .turns import Turns

HOSTILE = 50
BACKLOG = 100  # events for each hostile webhook: it has something due all the time
INTERVAL = 0.02
STEADY = f"{HOSTILE} hostile ones that get an event a second each"
LOADED = f"{HOSTILE} hostile ones that begin with a backlog of {BACKLOG} each"


def steadily(bench: Bench, seconds: float) -> None:
    """Insert an event a second for each hostile webhook, one after the other."""
    with inserting(bench.inserted_into) as insert:
        begin = time.monotonic()
        for number in range(int(seconds * HOSTILE)):
            time.sleep(max(0.0, begin + number / HOSTILE - time.monotonic()))
            insert(f"bad{number % HOSTILE}_0")


def cases(ports: Mapping[str, int], seconds: float) -> dict[str, Prepare]:
    """Return what makes hostile webhooks of every kind: with an event a second for so long, and with a backlog."""

    def backlog(bench: Bench, _: str, each: int = BACKLOG) -> None:
        for number, kind in zip(range(HOSTILE), itertools.cycle(KINDS), strict=False):
            bench.add_webhooks(f"http://127.0.0.1:{ports[kind]}", 1, project=f"bad{number}")
            bench.insert(each, projects=1, project=f"bad{number}")

    def steady(bench: Bench, url: str) -> Callable[[], None]:
        backlog(bench, url, 1)
        return threading.Thread(target=steadily, args=(bench, seconds)).start

    return {STEADY: steady, LOADED: backlog}


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield both latencies side by side, and the memory."""
    count = sizes.of(1500, 100)
    alone: list[Run] = []
    beside: Turns[Run] = Turns(sizes.beside)
    steady: Turns[Run] = Turns(sizes.beside)
    before: list[float] = []
    after: list[float] = []

    def note(process: Popen[bytes]) -> None:
        (after if len(after) < len(before) else before).append(memory_mb(process.pid))

    with all_of_them() as ports:
        prepared = cases(ports, count * INTERVAL)
        for _ in sizes.rounds:
            alone.append(measure(count, INTERVAL))
            beside.take(
                lambda release: measure(count, INTERVAL, prepared[LOADED], None if release else note, release=release)
            )
            steady.take(lambda release: measure(count, INTERVAL, prepared[STEADY], release=release))
    lone = [run.delays for run in alone]
    for others, turns, least in ((STEADY, steady, None), (LOADED, beside, 1.0)):
        name = f"a good webhook at 50 events/s beside {others}"
        yield within_twice(name, [run.delays for run in turns.this], lone)
        yield from turns.compared(f"{name}: p99", lambda run: quantile(run.delays, 0.99), "{:.1f} ms")
        yield from turns.compared(f"{name}: requests to the others", lambda run: run.others, "{:,.0f}/s", least=least)
    yield Figure(
        f"memory beside {HOSTILE} hostile webhooks",
        f"{median(after):.0f} MB after {count * INTERVAL:.0f} s",
        f"{median(before):.0f} MB at the start",
        "≤ 60 MB more",
        median(after) - median(before) <= 60,
    )
