"""Other programs' locks, rows that break every rule, and an event that kills the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.engine import Busy, ReadPlan
from almirant_webhooks.storage.sqlite import outbox, unread
from almirant_webhooks.storage.sqlite.connection import WAL_MOST, become_checkpointer, shorten_wal, transaction

from ..conftest import Receiver
from ..support.service import Service
from ..support.steps import Steps
from .process import DaemonProcess

pytestmark = pytest.mark.sqlite

HELD = float(os.environ.get("FAULTS_LOCK", "3"))  # seconds that a producer holds the lock
FRAGILE = (sys.executable, str(Path(__file__).with_name("fragile.py")))


async def test_a_producer_that_holds_the_write_lock_delays_and_loses_nothing(
    service: Service, receiver: Receiver
) -> None:
    """What is in flight is recorded afterwards, and the wait shows in a metric. FAULTS_LOCK sets how long (3 s)."""
    daemon = await service.start()
    service.webhook(receiver.url)
    service.insert({"n": 1})
    await service.until(lambda: service.log(state="succeeded"))
    conn = sqlite3.connect(service.database, isolation_level=None, timeout=10)
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')")
    asking = asyncio.create_task(daemon.loop.recover(clock.now()))
    await asyncio.sleep(HELD)
    conn.execute("COMMIT")
    conn.close()
    if HELD < 5:
        await asking
    else:
        with pytest.raises(Busy):
            await asking
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    await service.until(lambda: daemon.not_ready() is None)
    total = daemon.metrics.registry.get_sample_value("almirant_webhooks_lock_wait_seconds_sum")
    assert total is not None
    assert HELD >= 5 or total > HELD - 0.5


@pytest.mark.slow
def test_a_wal_that_a_reader_let_grow_is_brought_back_to_size(tmp_path: Path) -> None:
    """While the reader is there nobody is waited for; after it the file is short again."""
    path = tmp_path / "big.db"
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("CREATE TABLE t (x BLOB)")
    become_checkpointer(conn)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchone()
    wal = path.with_name("big.db-wal")
    while wal.stat().st_size <= WAL_MOST + 2**20:
        with transaction(conn):
            conn.execute("INSERT INTO t VALUES (zeroblob(4000000))")
    shorten_wal(conn)
    assert wal.stat().st_size > WAL_MOST
    reader.execute("COMMIT")
    assert shorten_wal(conn)
    assert wal.stat().st_size == 0
    assert not shorten_wal(conn)
    reader.close()
    conn.close()


async def test_rows_that_break_every_rule_are_rejected_and_the_others_flow(
    service: Service, receiver: Receiver
) -> None:
    """Constraint checks were switched off: 100 MB, NULs, bad UTF-8; the good rows behind them arrive."""
    await service.start()
    service.webhook(receiver.url)
    conn = service.producer()
    conn.execute("PRAGMA ignore_check_constraints=ON")
    insert = "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, ?, CAST(? AS TEXT))"
    for bad in (b'{"a":"' + b"x" * 100_000_000 + b'"}', b'{"a":"\xff\xfe"}', b'{"a":1}\0', b"[]", b"", b"{"):
        with conn:
            conn.execute(insert, ("proj_1", "lead.created", bad))
    service.insert(*({"n": number} for number in range(50)))
    await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 50)
    reasons = "SELECT rejected_reason FROM outbox WHERE rejected_reason IS NOT NULL ORDER BY id"
    await service.until(lambda: len(conn.execute(reasons).fetchall()) == 6)
    assert [row[0].split(" (")[0] for row in conn.execute(reasons)] == [
        "payload is larger than 256 KiB",
        "payload is not UTF-8",
        "payload contains a NUL character",
        "payload is not a JSON object",
        "payload is not a JSON object",
        "payload is not a JSON object",
    ]
    assert sorted(json.loads(request.body)["data"]["n"] for request in receiver.requests) == list(range(50))
    conn.close()


def test_plain_rows_are_read_as_text(steps: Steps) -> None:
    """The slow way, byte by byte, is for what is no text alone."""
    outbox.insert(steps.outbox, project_id="p", event_type="lead.created", payload='{"é": 1}', event_id=None)
    (row,) = unread.read_unread(steps.outbox, ReadPlan(10))
    assert (row.payload, row.project_id) == ('{"é": 1}', "p")


@pytest.mark.slow
async def test_an_event_that_kills_the_daemon_does_not_make_a_crash_loop(service: Service, receiver: Receiver) -> None:
    """Its first two interruptions are free, from the third on each waits its schedule; the rest flow."""
    service.options["delivery"] = {"retry_schedule": ["0s", "1h", "1h"]}
    service.migrate()
    service.webhook(receiver.url, "deal.closed")
    service.webhook(receiver.url, "lead.*")
    service.insert({"deadly": True}, kind="deal.closed")
    daemon = DaemonProcess(service, command=FRAGILE)
    service.insert(*({"n": number} for number in range(6)), kind="lead.created")

    def deadly() -> dict[str, Any]:
        return next(row for row in service.log() if row["event_type"] == "deal.closed")

    deaths = 0
    try:
        daemon.start()
        while not (len(service.log(state="succeeded")) == 6 and deadly()["tries"]):
            if daemon.died() is not None:
                deaths += 1
                daemon.start()
            await asyncio.sleep(0.02)
        await service.until(lambda: daemon.died() is not None or "started" in daemon.log.read_text())
        assert daemon.died() is None
    finally:
        daemon.close()
    row = deadly()
    assert deaths == 3
    assert (row["state"], row["tries"], row["attempts"]) == ("pending", 1, 3)
    assert clock.parse(row["next_attempt_at"]) > clock.now() + timedelta(minutes=50)
