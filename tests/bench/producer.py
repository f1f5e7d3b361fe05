"""A producer in a process of its own: an INSERT at a steady rate, each commit's time noted."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import psycopg

from .daemon import PAYLOAD


@dataclass
class Produced:
    """When each event's INSERT began and was committed, in monotonic seconds, and how many milliseconds that took."""

    begun: dict[str, float] = field(default_factory=dict)
    committed: dict[str, float] = field(default_factory=dict)
    inserts: list[float] = field(default_factory=list)


@contextmanager
def inserting(outbox: str) -> Iterator[Callable[[str], str]]:
    """Open an outbox; yields what inserts an event into a project and returns its id."""
    columns = "INSERT INTO outbox (project_id, event_type, payload) VALUES"
    if outbox.startswith("postgresql://"):
        with psycopg.connect(outbox, autocommit=True) as there:
            there.execute("SET search_path = almirant_webhooks")
            query = f"{columns} (%s, 'work_item.created', %s) RETURNING event_id"
            yield lambda project: str((there.execute(query, (project, PAYLOAD)).fetchone() or ("",))[0])
        return
    with closing(sqlite3.connect(outbox, timeout=30, isolation_level=None)) as conn:
        query = f"{columns} (?, 'work_item.created', ?) RETURNING event_id"
        yield lambda project: str(conn.execute(query, (project, PAYLOAD)).fetchone()[0])


def produce(outbox: str, project: str, count: int, interval: float) -> None:
    """Insert, and print each event's id with the times before and after its commit."""
    with inserting(outbox) as insert:
        begin = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, begin + number * interval - time.monotonic()))
            before = time.monotonic()
            print(insert(project), before, time.monotonic(), flush=True)


@contextmanager
def producing(outbox: str, project: str, *, count: int, interval: float) -> Iterator[Produced]:
    """Run a producer; when the block ends, wait for it and fill in what it committed and when."""
    produced = Produced()
    command = [sys.executable, "-m", "tests.bench.producer", outbox, project, str(count), str(interval)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield produced
    finally:
        for line in process.communicate()[0].splitlines():
            event, before, after = line.split()
            produced.begun[event] = float(before)
            produced.committed[event] = float(after)
            produced.inserts.append((float(after) - float(before)) * 1000)


if __name__ == "__main__":
    produce(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
