"""Isolation: a good webhook alone, and beside dead receivers, a long backlog, and an outage that is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .daemon import Bench
from .filling import fill_due
from .steady import Prepare, Run, measure, middle, within_twice
from .table import Figure, Sizes, median, quantile
from .turns import Turns

INTERVAL = 0.02  # seconds between two events of the good one
HANGING = 50
EACH_HANGING = 100  # events: it has something due all the time
SECONDS = 20


def _hanging(bench: Bench, url: str) -> None:
    for number in range(HANGING):
        bench.add_webhooks(f"{url}/hang", 1, project=f"dead{number}")
        bench.insert(EACH_HANGING, projects=1, project=f"dead{number}")


def _backlog(webhooks: int, count: int) -> Prepare:
    def prepare(bench: Bench, url: str) -> None:
        fill_due(bench, bench.add_webhooks(f"{url}/busy", webhooks, projects=1, project="busy"), count)

    return prepare


def _outage(count: int) -> Prepare:
    def prepare(bench: Bench, url: str) -> None:
        fill_due(bench, bench.add_webhooks(f"{url}/back", 20, project="back"), count, within=2)

    return prepare


def _burst(count: int) -> Prepare:
    def prepare(bench: Bench, url: str) -> Callable[[], None]:
        bench.add_webhooks(f"{url}/loud", 1, project="loud")
        return lambda: bench.insert(count, projects=1, project="loud")

    return prepare


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the good one's delays beside each of them."""
    long, outage = sizes.of(100_000, 20_000), sizes.of(10_000, 2_000)
    cases = {
        f"{HANGING} receivers that hang until the time limit": _hanging,
        f"a project with {long:,} due deliveries to one webhook": _backlog(1, long),
        f"a project with {long:,} due deliveries to 100 webhooks": _backlog(100, long),
        f"{outage:,} deliveries to 20 webhooks that come due at once": _outage(outage),
        f"a project that inserts {long:,} events at once": _burst(long),
    }
    count = sizes.of(int(SECONDS / INTERVAL), 200)
    alone: Turns[Run] = Turns(sizes.beside)
    beside: dict[str, Turns[Run]] = {name: Turns(sizes.beside) for name in cases}
    for _ in sizes.rounds:
        alone.take(lambda release: measure(count, INTERVAL, release=release))
        for name, prepare in cases.items():
            beside[name].take(lambda release, prepare=prepare: measure(count, INTERVAL, prepare, release=release))  # type: ignore[misc]
    lone = [run.delays for run in alone.this]
    for name, turns in beside.items():
        runs = turns.this
        others = (
            f"; {median(run.others for run in runs):,.0f} requests/s to the others, "
            f"the INSERTs p99 {middle([run.inserts for run in runs], 0.99):.1f} ms"
        )
        title = f"a good webhook at 50 events/s beside {name}"
        yield within_twice(title, [run.delays for run in runs], lone, others)
        yield from turns.compared(f"{title}: p99", lambda run: quantile(run.delays, 0.99), "{:.1f} ms")
        least = None if cases[name] is _hanging else 1.0  # the time limit says how many those get
        yield from turns.compared(f"{title}: requests to the others", lambda run: run.others, "{:,.0f}/s", least=least)
