"""A good webhook that gets events at a steady rate, alone or beside something: how long each takes to arrive."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from subprocess import Popen

from almirant_webhooks.db.connection import open_database

from .daemon import Bench, scratch
from .producer import producing
from .receiver import Receiver, receiver
from .table import Figure, median, quantile

GOOD = "good_0"  # its project
_SUCCEEDED = f"""
SELECT count(*) >= ? FROM deliveries
WHERE webhook_id = (SELECT id FROM webhooks WHERE project_id = '{GOOD}') AND state = 'succeeded'
"""
# From the first request to another webhook until the last one had ended.
_WINDOW = f"""
SELECT min(a.started_at), count(*),
       strftime('%Y-%m-%dT%H:%M:%fZ', max(julianday(a.started_at) + coalesce(a.duration_ms, 0) / 86400000.0)),
       (julianday(max(a.started_at)) - julianday(min(a.started_at))) * 86400
FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
WHERE d.webhook_id <> (SELECT id FROM webhooks WHERE project_id = '{GOOD}')
"""
_INSIDE = f"SELECT json_group_array(id) FROM events WHERE project_id = '{GOOD}' AND occurred_at BETWEEN ? AND ?"

# Makes what is to be beside the good one; what it returns is called once events flow.
Prepare = Callable[[Bench, str], Callable[[], None] | None]
Watch = Callable[[Popen[bytes]], None]


@dataclass(frozen=True)
class Run:
    """The milliseconds from commit to arrival, in order; those of the INSERTs; and the requests a second to others."""

    delays: list[float]
    inserts: list[float]
    others: float = 0.0


def measure(
    count: int,
    interval: float,
    prepare: Prepare | None = None,
    watch: Watch | None = None,
    bench: Bench | None = None,
) -> Run:
    """Give a webhook events at a steady rate, after a first one that opens its connection; on a bench of its own or a given one.

    `prepare` is called before the daemon starts, with the address of a receiver; with it only those events count that
    were inserted while requests to others were under way. `watch` is called with the daemon at the begin and at the end.
    """
    with nullcontext(bench) if bench else scratch() as bench:
        with receiver(bench.folder) as there:
            before = _aim(bench, f"{there.url}/ok")
            meanwhile = prepare(bench, there.url) if prepare is not None else None
            with bench.running() as process:
                if watch is not None:
                    watch(process)
                bench.insert(1, projects=1, project="good")
                bench.wait_until(_SUCCEEDED, before + 1)
                with producing(bench.database, GOOD, count=count, interval=interval) as produced:
                    if meanwhile is not None:
                        meanwhile()
                bench.wait_until(_SUCCEEDED, before + count + 1)
                if watch is not None:
                    watch(process)
        inside, others = set(produced.committed), 0.0
        if prepare is not None:
            begin, requests, end, seconds = bench.read(_WINDOW)
            inside &= set(json.loads(bench.read(_INSIDE, begin, end)[0]))
            others = requests / max(seconds, 0.001)
        committed = {event: produced.committed[event] for event in inside}
        return Run(_delays(committed, there), sorted(produced.inserts), others)


def _aim(bench: Bench, url: str) -> int:
    """Make the good webhook, or point the one that is there at a new address; return how many deliveries it has had."""
    conn = open_database(bench.database)
    there = conn.execute(f"UPDATE webhooks SET url = ? WHERE project_id = '{GOOD}'", (url,)).rowcount
    conn.close()
    if not there:
        bench.add_webhooks(url, 1, project=GOOD.removesuffix("_0"))
    return int(bench.read(_SUCCEEDED.replace(">= ?", ""))[0])


def _delays(committed: dict[str, float], there: Receiver) -> list[float]:
    """Return the milliseconds of each event, in order; one that did not arrive ends the run."""
    missing = committed.keys() - there.arrivals.keys()
    if missing or not committed:
        raise SystemExit(f"{len(missing)} of {len(committed)} events did not arrive: this run does not count.")
    return sorted(max(0.0, there.arrivals[event] - moment) * 1000 for event, moment in committed.items())


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
