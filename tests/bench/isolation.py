"""Isolation: a good webhook alone, and beside dead receivers, a long backlog, and an outage that is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from .daemon import Bench
from .filling import fill_due
from .steady import Prepare, Run, measure, middle, within_twice
from .table import Figure, Sizes, median, quantile
from .turns import Turns

INTERVAL = 0.02  # seconds between two events of the good one
HANGING = 50
EACH_HANGING = 100  # events: it has something due all the time
SECONDS = 20


class Fill(Protocol):
    """Writes deliveries that are due, all of them at the same moment, in so many seconds."""

    def __call__(self, bench: Bench, webhooks: Sequence[str], count: int, /, *, within: float = 0) -> None:
        """Write so many, in turn over the webhooks."""


def hanging(bench: Bench, url: str) -> None:
    """Make receivers that hang, with events for each."""
    for number in range(HANGING):
        bench.add_webhooks(f"{url}/hang", 1, project=f"dead{number}")
        bench.insert(EACH_HANGING, projects=1, project=f"dead{number}")


def _due(fill: Fill, path: str, webhooks: int, projects: int, count: int, within: float = 0) -> Prepare:
    def prepare(bench: Bench, url: str) -> None:
        made = bench.add_webhooks(f"{url}/{path}", max(webhooks, projects), projects=projects, project=path)
        fill(bench, made, count, within=within)

    return prepare


def _burst(projects: int, count: int) -> Prepare:
    def prepare(bench: Bench, url: str) -> Callable[[], None]:
        bench.add_webhooks(f"{url}/loud", projects, project="loud")
        return lambda: bench.insert(count, projects=projects, project="loud")

    return prepare


def cases(sizes: Sizes, fill: Fill = fill_due, projects: int = 1, within: float = 2) -> dict[str, Prepare]:
    """Return what is made beside the good one, each in so many projects; an outage is over `within` seconds."""
    long, outage = sizes.of(100_000, 20_000), sizes.of(10_000, 2_000)
    who, each, they_insert = (
        ("a project", "", "inserts") if projects == 1 else (f"{projects} projects", " each", "insert")
    )
    return {
        f"{HANGING} receivers that hang until the time limit": hanging,
        f"{who} with {long:,} due deliveries to one webhook{each}": _due(fill, "busy", 1, projects, long),
        f"{who} with {long:,} due deliveries to 100 webhooks": _due(fill, "busy", 100, projects, long),
        f"{outage:,} deliveries to 20 webhooks that come due at once": _due(fill, "back", 20, 20, outage, within),
        f"{who} that {they_insert} {long:,} events at once": _burst(projects, long),
    }


def compared(name: str, runs: Sequence[Run], lone: Sequence[Run]) -> Figure:
    """Return the figure of the good one's delays beside others and alone."""
    others = (
        f"; {median(run.others for run in runs):,.0f} requests/s to the others, "
        f"the INSERTs p99 {middle([run.inserts for run in runs], 0.99):.1f} ms"
    )
    return within_twice(name, [run.delays for run in runs], [run.delays for run in lone], others)


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the good one's delays beside each of them."""
    count, prepared = sizes.of(int(SECONDS / INTERVAL), 200), cases(sizes)
    alone: Turns[Run] = Turns(sizes.beside)
    beside: dict[str, Turns[Run]] = {name: Turns(sizes.beside) for name in prepared}
    for _ in sizes.rounds:
        alone.take(lambda release: measure(count, INTERVAL, release=release))
        for name, prepare in prepared.items():
            beside[name].take(lambda release, prepare=prepare: measure(count, INTERVAL, prepare, release=release))  # type: ignore[misc]
    for name, turns in beside.items():
        title = f"a good webhook at 50 events/s beside {name}"
        yield compared(title, turns.this, alone.this)
        yield from turns.compared(f"{title}: p99", lambda run: quantile(run.delays, 0.99), "{:.1f} ms")
        least = None if prepared[name] is hanging else 1.0  # the time limit says how many those get
        yield from turns.compared(f"{title}: requests to the others", lambda run: run.others, "{:,.0f}/s", least=least)
