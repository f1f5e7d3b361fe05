"""A long log: throughput and latency beside an empty one, and while a part of it is pruned or a webhook with a part is erased."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks
from almirant_webhooks.storage.sqlite.connection import open_database, transaction

from .daemon import Bench, check_rows, scratch
from .filling import fill
from .nginx import Nginx, nginx
from .steady import Run, measure, middle, words
from .table import Figure, Sizes, median
from .throughput import WEBHOOKS

INTERVAL = 0.02
DAYS = 50  # a tenth of the log is older than 45 days
KEPT = 'retention.succeeded = "{days}d"\nretention.failed = "365d"'
HOLDERS = 10  # webhooks that the log belongs to
BYTES_A_ROW = 2_500
PAYLOAD = '{"workItem": {"id": "wi_1", "title": "' + "x" * 150 + '"}}'
_OLDER = "SELECT count(*) FROM deliveries WHERE id < ?"
_OF_WEBHOOK = "SELECT count(*) FROM deliveries WHERE webhook_id = ?"


def _throughput(bench: Bench, server: Nginx, events: int, round_: int) -> float:
    """Deliver events to webhooks of this round."""
    bench.add_webhooks(server.http, WEBHOOKS, project=f"fast{round_}")
    bench.insert(events, projects=WEBHOOKS, project=f"fast{round_}")
    after = f"dlv_{int(time.time() * 1000):012x}"
    with bench.running():
        bench.wait_for(events)
    return check_rows(bench, events, after)


def _delete(bench: Bench, webhook_id: str) -> None:
    conn = open_database(bench.database)
    with transaction(conn):
        webhooks.delete(conn, webhook_id, clock.now())
    conn.close()


def _while_shrinking(bench: Bench, count: int, query: str, value: str, runs: list[Run]) -> float:
    """Measure while rows go; return how many went in a second."""
    before, begin = bench.read(query, value)[0], time.monotonic()
    runs.append(measure(count, INTERVAL, bench=bench))
    seconds, left = time.monotonic() - begin, bench.read(query, value)[0]
    if not left and count > 500:
        raise SystemExit("All rows were gone before the end: this run does not count.")
    return float((before - left) / seconds)


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield each, beside the same with an empty log in the same round."""
    rows, events, count = sizes.of(sizes.rows, 10_000), sizes.of(50_000, 2_000), sizes.of(1000, 50)
    if shutil.disk_usage(tempfile.gettempdir()).free < rows * BYTES_A_ROW * 1.5:
        raise SystemExit(f"There is no room for {rows:,} attempts in {tempfile.gettempdir()}: --rows or TMPDIR.")
    fast: dict[str, list[float]] = {"empty": [], "long": []}
    slow: dict[str, list[Run]] = {"empty": [], "long": [], "pruned": [], "erased": []}
    gone: dict[str, list[float]] = {"pruned": [], "erased": []}
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server, scratch() as bench:
        now = clock.now()
        holders = bench.add_webhooks("http://127.0.0.1:9", HOLDERS, project="old")
        fill(bench, holders, rows, begin=now - timedelta(days=DAYS), end=now, payload=PAYLOAD)
        size = bench.database.stat().st_size / 1e9
        old = f"dlv_{int((now - timedelta(days=DAYS * 0.9)).timestamp() * 1000):012x}"
        for round_ in sizes.rounds:
            bench.options = KEPT.format(days=365)
            with scratch() as empty:
                fast["empty"].append(_throughput(empty, server, events, round_))
            fast["long"].append(_throughput(bench, server, events, round_))
            slow["empty"].append(measure(count, INTERVAL))
            slow["long"].append(measure(count, INTERVAL, bench=bench))
            bench.options = KEPT.format(days=round(DAYS * 0.9))
            gone["pruned"].append(_while_shrinking(bench, count, _OLDER, old, slow["pruned"]))
        bench.options = KEPT.format(days=365)
        _delete(bench, holders[0])
        for _ in sizes.rounds:  # it goes on from the first to the last, and would be beside everything else
            gone["erased"].append(_while_shrinking(bench, count, _OF_WEBHOOK, holders[0], slow["erased"]))
    name = f"{rows:,} attempts in the log ({size:.1f} GB)"
    long, empty_rate = median(fast["long"]), median(fast["empty"])
    yield Figure(
        f"{name}: throughput", f"{long:,.0f}/s", f"{long / empty_rate:.2f} of {empty_rate:,.0f}/s with none",
        "≥ 0.75", long >= 0.75 * empty_rate,
    )  # fmt: skip
    delays = {kind: [run.delays for run in runs] for kind, runs in slow.items()}
    ends = {kind: middle(runs, 0.99) for kind, runs in delays.items()}
    yield Figure(
        f"{name}: a webhook at 50 events/s", words(delays["long"]), f"with none {words(delays['empty'])}",
        "p99 ≤ 1.25 ×", ends["long"] <= 1.25 * ends["empty"],
    )  # fmt: skip
    for kind, what in {"pruned": "a tenth is pruned", "erased": "a webhook with a tenth is erased"}.items():
        yield Figure(
            f"{name}: the same while {what}, {median(gone[kind]):,.0f} rows/s", words(delays[kind]),
            f"with none going {words(delays['long'])}", "p99 ≤ 2 ×", ends[kind] <= 2 * ends["long"],
        )  # fmt: skip
