"""Producers that commit events one by one as fast as they can, each in a process of its own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .daemon import PAYLOAD
from .table import quantile


@dataclass(frozen=True)
class Flood:
    """What some producers did together: seconds since 1970 of the first begin and the last commit, and the INSERTs' milliseconds in order."""

    begin: float
    end: float
    inserts: list[float]

    @property
    def rate(self) -> float:
        """INSERTs a second."""
        return len(self.inserts) / (self.end - self.begin)

    @property
    def p99(self) -> float:
        """Milliseconds that one INSERT in a hundred took at least."""
        return quantile(self.inserts, 0.99)


def flood(outbox: Path, producers: int, seconds: float, *, projects: int) -> Flood:
    """Run producers that all begin at the same moment, once each has opened the outbox; return what they did."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.bench.flood", outbox, str(seconds), str(projects), str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(producers)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("A producer ended with an error: this run does not count.")
    runs = [Flood(**json.loads(text)) for text in printed]
    inserts = sorted(took for run in runs for took in run.inserts)
    return Flood(min(run.begin for run in runs), max(run.end for run in runs), inserts)


def _produce(outbox: str, seconds: float, projects: int, first: int) -> None:
    """Insert events of 1 KB in turn over the projects, beginning with one; print what was done as JSON."""
    conn = sqlite3.connect(outbox, timeout=30, isolation_level=None)
    conn.execute("SELECT count(*) FROM outbox").fetchone()  # reads the schema
    print("ready", flush=True)
    sys.stdin.readline()
    begin, over = time.time(), time.monotonic() + seconds
    inserts: list[float] = []
    while (before := time.monotonic()) < over:
        project = f"proj_{(first + len(inserts)) % projects}"
        conn.execute(
            "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'work_item.created', ?)",
            (project, PAYLOAD),
        )
        inserts.append((time.monotonic() - before) * 1000)
    print(json.dumps({"begin": begin, "end": time.time(), "inserts": inserts}))


if __name__ == "__main__":
    _produce(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
