"""A producer as any program could be one: its own process, sqlite3 and nothing of ours. Run as a script."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from typing import IO


def produce(path: str, name: str, projects: int, synchronous: str, out: IO[str]) -> None:
    """Insert one to twenty events a transaction, so that a few hundred deliveries a second come of them."""
    conn = sqlite3.connect(path, timeout=30, isolation_level=None)
    conn.execute(f"PRAGMA synchronous={synchronous}")
    number = 0
    while True:
        rows = []
        conn.execute("BEGIN IMMEDIATE")
        for _ in range(1 + number % 20):
            number += 1
            rows.append((f"{name}:{number}", f"proj_{number % projects}"))
            conn.execute(
                "INSERT INTO outbox (event_id, project_id, event_type, payload) VALUES (?, ?, 'lead.created', ?)",
                (*rows[-1], json.dumps({"n": number, "text": "é" * (number % 300)})),
            )
        conn.execute("COMMIT")
        out.write("".join(f"{event} {project}\n" for event, project in rows))
        out.flush()
        time.sleep(float(os.environ.get("PRODUCER_REST", "0.3")))


if __name__ == "__main__":
    produce(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.stdout)
