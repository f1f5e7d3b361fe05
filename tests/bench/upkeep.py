"""What upkeep of a log of 1,000,000 deliveries costs others: the wait of a producer beside pruning and resending many, and counts."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from almirant_webhooks import clock
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.engine import FIRST_RESEND
from almirant_webhooks.storage.sql import resend_steps, resends, retention
from almirant_webhooks.storage.sqlite.connection import (
    become_checkpointer,
    open_database,
    open_reader,
    retry_while_busy,
    transaction,
)
from almirant_webhooks.upkeep.resender import REST

from .daemon import PAYLOAD, Bench
from .lists import fill
from .table import Figure, Sizes, median, quantile

REACH = 100.0  # ms that another writer waits, in 99 of 100 cases
COUNT_REACH = 5.0  # s
SPAN = 60.0  # s at most of each run
_COUNTS: dict[str, dict[str, Any]] = {
    "all": {},
    "failed": {"state": "failed"},
    "5xx of 12 hours": {"status": "5xx", "since": timedelta(hours=12)},
    "a type": {"event_type": "work_item.moved"},
    "a cause": {"cause": "no answer"},
    "a project": {"project_id": "proj_3"},
    "an event": {"event_id": "evt_7777"},
}


@contextmanager
def _producing(database: Path) -> Iterator[list[float]]:
    """Insert an event every few milliseconds, as a producer does; yields the milliseconds that each one took."""
    waits: list[float] = []
    over = threading.Event()

    def insert() -> None:
        conn = sqlite3.connect(database, timeout=0, isolation_level=None)
        conn.execute("PRAGMA synchronous=FULL")
        while not over.wait(0.005):
            begun = time.perf_counter()
            retry_while_busy(lambda: conn.execute("BEGIN IMMEDIATE"), 60)
            conn.execute(
                "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', ?)", (PAYLOAD,)
            )
            retry_while_busy(lambda: conn.execute("COMMIT"), 60)
            waits.append((time.perf_counter() - begun) * 1000)
        conn.close()

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


def _waits(name: str, waits: list[float], beside: str) -> Figure:
    found = sorted(waits)
    p99 = quantile(found, 0.99)
    words = f"p50 {median(found):.1f} ms, p99 {p99:.1f} ms, {found[-1]:.0f} ms at most, of {len(found):,}"
    return Figure(name, words, beside, f"p99 < {REACH:.0f} ms", p99 < REACH)


def _pruning(bench: Bench) -> Figure:
    """`almirant-webhooks prune` of half the log, for a minute."""
    config = bench.folder / "prune.toml"
    config.write_text(f'database.path = "{bench.database}"\nretention.succeeded = "15d"\nretention.failed = "15d"\n')
    program = Path(sys.executable).with_name("almirant-webhooks")
    before = bench.read("SELECT count(*) FROM deliveries")[0]
    with _producing(bench.database) as waits:
        process = subprocess.Popen([program, "prune", "--config", config], stdout=subprocess.DEVNULL)
        try:
            process.wait(SPAN)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
    gone = before - bench.read("SELECT count(*) FROM deliveries")[0]
    return _waits("an INSERT beside prune", waits, f"{gone:,} deliveries removed")


def _resending(bench: Bench) -> Iterator[Figure]:
    """Steps of a resend of all, as the daemon takes them; what waits is taken off as if it were sent."""
    conn = open_database(bench.database)
    become_checkpointer(conn)
    counts = resends.count(conn, Selection())
    with transaction(conn):
        resend = resends.start(conn, Selection(), counts, actor="operator", now=clock.now())
    steps: list[float] = []
    reached = FIRST_RESEND
    deadline = time.monotonic() + SPAN
    with _producing(bench.database) as waits:
        while resend_steps.under_way(conn) and time.monotonic() < deadline:
            begun = time.perf_counter()
            with transaction(conn, 60):
                reached = resend_steps.step(conn, clock.now(), reached).reached
            steps.append((time.perf_counter() - begun) * 1000)
            with transaction(conn, 60):
                conn.execute(
                    "UPDATE deliveries SET resend_requested_at = NULL WHERE rowid IN (SELECT rowid FROM deliveries "
                    "WHERE resend_requested_at IS NOT NULL LIMIT 200)"
                )
            time.sleep(REST)
    asked = resends.get(conn, resend)["requested"]
    conn.close()
    yield _waits("an INSERT beside a resend of all", waits, f"{asked:,} asked for")
    p99 = quantile(sorted(steps), 0.99)
    words = f"p99 {p99:.0f} ms, {max(steps):.0f} ms at most, of {len(steps)}"
    yield Figure("a step of a resend of all", words, f"{len(counts)} webhooks", f"p99 < {REACH:.0f} ms", p99 < REACH)


def _counted(name: str, calls: dict[str, Callable[[], object]]) -> Figure:
    """Return the longest of some counts."""
    found = []
    for what, call in calls.items():
        begun = time.perf_counter()
        call()
        found.append((time.perf_counter() - begun, what))
    longest, what = max(found)
    beside = ", ".join(f"{other} {span:.2f} s" for span, other in found if other != what)
    return Figure(name, f"slowest {longest:.2f} s ({what})", beside, f"< {COUNT_REACH:.0f} s", longest < COUNT_REACH)


def _counts(bench: Bench) -> Iterator[Figure]:
    conn, now = open_reader(bench.database), clock.now()
    asked: dict[str, dict[str, Any]] = {
        what: {key: now - value if isinstance(value, timedelta) else value for key, value in one.items()}
        for what, one in _COUNTS.items()
    }
    selections = {what: Selection(**one) for what, one in asked.items()}
    yield _counted("counting a resend", {what: partial(resends.count, conn, one) for what, one in selections.items()})
    kept = {"as by default": (30, 90), "half": (15, 15), "nearly all": (1, 1)}
    yield _counted("prune --dry-run", {
        what: lambda one=one: list(retention.count(conn, succeeded=timedelta(days=one[0]), failed=timedelta(days=one[1]), now=now))  # type: ignore[misc]
        for what, one in kept.items()
    })  # fmt: skip
    conn.close()


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Return the waits of another writer, and the times of counts."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        fill(bench, sizes.of(1_000_000, 5_000))
        os.sync()  # so that the first commits do not wait for a gigabyte of the filling
        yield from _counts(bench)
        yield from _resending(bench)
        yield _pruning(bench)
