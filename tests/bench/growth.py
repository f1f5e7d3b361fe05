"""What a delivery leaves behind: bytes of the database, and what is written for it meanwhile, as the kernel counts it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .daemon import Bench, check_rows, scratch
from .nginx import nginx
from .release import Release
from .table import Figure, Sizes, median
from .throughput import WEBHOOKS
from .turns import Turns

_SIZES = """
SELECT json_group_object(name, size) FROM (
    SELECT CASE WHEN m.type = 'index' THEN 'indexes of ' ELSE '' END || m.tbl_name AS name, sum(s.pgsize) AS size
    FROM dbstat s JOIN sqlite_schema m ON m.name = s.name WHERE s.aggregate = 1 GROUP BY 1
)
"""
# The text that is stored: what the log shows beside it is told by other columns.
_CONTENT = """
SELECT (SELECT sum(length(body)) FROM events), (SELECT sum(length(payload)) FROM outbox),
       (SELECT sum(length(request_headers) + length(response_headers) + length(response_body) + length(url)) FROM attempts)
"""
SMALL = 20  # bytes a delivery that are not worth a line


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def _measure(url: str, events: int, release: Release | None) -> dict[str, float]:
    """Return bytes and counts of a delivery."""
    with scratch(release=release) as bench:
        return _measure_on(bench, url, events)


def _measure_on(bench: Bench, url: str, events: int) -> dict[str, float]:
    bench.add_webhooks(url, WEBHOOKS)
    with bench.running() as process:
        before = _written(process.pid)
        bench.insert(events, projects=WEBHOOKS)
        bench.wait_for(events)
        written, commits = _written(process.pid) - before, bench.counted("commit_seconds_count")
    check_rows(bench, events)
    sizes: dict[str, float] = json.loads(bench.read(_SIZES)[0])
    body, payload, log = bench.read(_CONTENT)
    found = {
        **sizes,
        "": sum(sizes.values()),
        "written": written,
        "commits": commits,
        "content": body + payload + log,
        "log": log,
        "outbox and its indexes": sizes["outbox"] + sizes["indexes of outbox"],
    }
    return {name: value / events for name, value in found.items()}


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the growth beside the length of what is stored, what is written, and where the bytes are."""
    events = sizes.of(50_000, 2_000)
    turns: Turns[dict[str, float]] = Turns(sizes.beside)
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for _ in sizes.rounds:
            turns.take(lambda release: _measure(server.http, events, release))
    runs = turns.this
    middle = {name: median(run[name] for run in runs) for name in runs[0]}
    whole, written = middle.pop(""), middle.pop("written")
    yield Figure(
        "growth of the database, a delivery of an event of 1 KB",
        f"{whole:,.0f} bytes, {middle.pop('outbox and its indexes'):,.0f} of them in the outbox for 7 days",
        f"its text alone {middle.pop('content'):,.0f} bytes, {middle.pop('log'):,.0f} of them of the attempt",
    )
    yield Figure(
        "written for a delivery while many are under way",
        f"{written:,.0f} bytes, {middle.pop('commits'):.3f} commits with a sync each",
        f"{written / whole:.1f} × the growth",
    )
    yield from turns.compared("growth of the database", lambda run: run[""], "{:,.0f} bytes", most=1)
    yield from turns.compared("written for a delivery", lambda run: run["written"], "{:,.0f} bytes", most=1)
    for name, size in sorted(middle.items(), key=lambda one: -one[1]):
        if size >= SMALL:
            yield Figure(f"growth: {name}", f"{size:,.0f} bytes", f"{size / whole * 100:.0f} % of it")
