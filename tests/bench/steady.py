"""A good webhook that gets events at a steady rate, alone or beside something: how long each takes to arrive."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from subprocess import Popen

from .daemon import Bench, scratch
from .producer import producing
from .receiver import Receiver, receiver
from .release import Release
from .table import Figure, median, quantile

GOOD = "good_0"  # its project
_SUCCEEDED = f"""
SELECT count(*) >= ? FROM deliveries
WHERE webhook_id = (SELECT id FROM webhooks WHERE project_id = '{GOOD}') AND state = 'succeeded'
"""
# The view shows every release's attempts, also those that had no end when the daemon was stopped.
_AT = "(julianday(started_at) - julianday('1970-01-01')) * 86400"  # SQLite counts from another day than PostgreSQL's tables
_WINDOW = f"""
SELECT count(*), min({_AT}), max({_AT}), max({_AT} + duration_ms / 1000.0), count(*) - count(duration_ms)
FROM attempt_log WHERE project_id <> '{GOOD}'
"""

TRIES = 8

# Makes what is to be beside the good one; what it returns is called once events flow.
Prepare = Callable[[Bench, str], Callable[[], None] | None]
Watch = Callable[[Popen[bytes]], None]
Opened = Callable[[], AbstractContextManager[Bench]]
Running = Callable[[Bench], AbstractContextManager[Popen[bytes]]]


class NoEvent(SystemExit):
    """Of the good webhook's events none came in the time that counts."""


@dataclass(frozen=True)
class Run:
    """The milliseconds from commit to arrival and from the INSERT's begin, in order; those of the INSERTs; requests a second to others."""

    delays: list[float]
    calls: list[float]
    inserts: list[float]
    others: float = 0.0


def measure(
    count: int,
    interval: float,
    prepare: Prepare | None = None,
    watch: Watch | None = None,
    bench: Bench | None = None,
    release: Release | None = None,
    opened: Opened | None = None,
    running: Running = Bench.running,
) -> Run:
    """Measure once; again, seven times at most, where the others were done before an event of the good webhook came.

    It is measured on a given bench, on one that is `opened` for each try, or on one of a release or of this tree. See `_measure`.
    """
    opened = opened or (lambda: nullcontext(bench) if bench else scratch(release=release))
    for _ in range(TRIES - 1):
        with suppress(NoEvent):
            return _measure(count, interval, prepare, watch, opened, running)
    return _measure(count, interval, prepare, watch, opened, running)


def _measure(
    count: int,
    interval: float,
    prepare: Prepare | None,
    watch: Watch | None,
    opened: Opened,
    running: Running,
) -> Run:
    """Give a webhook events at a steady rate, after a first one that opens its connection.

    `prepare` is called before the daemon starts, with the address of a receiver; with it only those events count that
    were committed while requests to others were under way. `watch` is called with the daemon at the begin and at the end.
    """
    with opened() as bench:
        with receiver(bench.folder) as there:
            before = _aim(bench, f"{there.url}/ok")
            meanwhile = prepare(bench, there.url) if prepare is not None else None
            with running(bench) as process:
                if watch is not None:
                    watch(process)
                bench.insert(1, projects=1, project="good")
                bench.wait_until(_SUCCEEDED, before + 1)
                with producing(bench.inserted_into, GOOD, count=count, interval=interval) as produced:
                    if meanwhile is not None:
                        meanwhile()
                bench.wait_until(_SUCCEEDED, before + count + 1)
                if watch is not None:
                    watch(process)
        begin, end, others = (0.0, time.monotonic(), 0.0) if prepare is None else _window(bench)
        inside = [event for event, moment in produced.committed.items() if begin <= moment <= end]
        committed, begun = (
            {event: moments[event] for event in inside} for moments in (produced.committed, produced.begun)
        )
        return Run(_delays(committed, there), _delays(begun, there), sorted(produced.inserts), others)


def _window(bench: Bench) -> tuple[float, float, float]:
    """Return from when to when requests to others were under way, in monotonic seconds, and how many began a second."""
    requests, first, last, end, under_way = bench.read(_WINDOW)
    if not requests:
        return 0.0, 0.0, 0.0
    ahead = time.time() - time.monotonic()
    return first - ahead, time.monotonic() if under_way else end - ahead, requests / max(last - first, 0.001)


def _aim(bench: Bench, url: str) -> int:
    """Make the good webhook, or point the one that is there at a new address; return how many deliveries it has had."""
    conn = sqlite3.connect(bench.database, timeout=30)
    with conn:
        there = conn.execute(f"UPDATE webhooks SET url = ? WHERE project_id = '{GOOD}'", (url,)).rowcount
    conn.close()
    if not there:
        bench.add_webhooks(url, 1, project=GOOD.removesuffix("_0"))
    return int(bench.read(_SUCCEEDED.replace(">= ?", ""))[0])


def _delays(moments: dict[str, float], there: Receiver) -> list[float]:
    """Return the milliseconds from each event's moment to its arrival, in order; one that did not arrive ends the run."""
    missing = moments.keys() - there.arrivals.keys()
    if not moments:
        raise NoEvent("No event came while requests to the others were under way: this run does not count.")
    if missing:
        raise SystemExit(f"{len(missing)} of {len(moments)} events did not arrive: this run does not count.")
    return sorted(max(0.0, there.arrivals[event] - moment) * 1000 for event, moment in moments.items())


def middle(runs: Sequence[Sequence[float]], part: float) -> float:
    """Return the median of the runs' quantiles."""
    return median(quantile(run, part) for run in runs)


def words(runs: Sequence[Sequence[float]]) -> str:
    """Say the medians of both quantiles, and between which values the p99 of the runs lay."""
    ends = [quantile(run, 0.99) for run in runs]
    spread = f" ({min(ends):.1f} to {max(ends):.1f})" if len(runs) > 1 else ""
    return f"p50 {middle(runs, 0.5):.1f} ms, p99 {middle(runs, 0.99):.1f} ms{spread}"


def within_twice(
    name: str, delays: Sequence[Sequence[float]], alone: Sequence[Sequence[float]], more: str = ""
) -> Figure:
    """Return the figure of delays beside something, whose p99 may be twice that of those alone."""
    reached = middle(delays, 0.99) <= 2 * middle(alone, 0.99)
    return Figure(name, words(delays), f"alone {words(alone)}{more}", "p99 ≤ 2 × alone", reached)
