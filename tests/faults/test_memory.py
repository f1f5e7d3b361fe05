"""However much is inserted at once, the daemon's memory is bounded: it reads in batches, and no payload that is too large."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from ..conftest import Receiver
from ..support.service import Service
from .process import DaemonProcess, say_figures

ROWS = int(os.environ.get("FAULTS_ROWS", "200000"))
MIB = 2**20
MOST = 256 * MIB
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")

pytestmark = pytest.mark.slow

# One event in a thousand is wanted; the others are unmatched.
INSERT = """
INSERT INTO outbox (project_id, event_type, payload)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
SELECT 'proj_1', CASE WHEN i % 1000 <> 0 THEN 'deal.closed' ELSE 'lead.created' END, '{"n": ' || i || ', "text": "' || ? || '"}' FROM n
"""


def peak(daemon: DaemonProcess) -> int:
    """Return the most bytes of memory that a daemon has had so far (proc(5), VmHWM)."""
    found = _PEAK.search(Path(f"/proc/{daemon.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.timeout(900)
async def test_very_many_rows_in_one_transaction(service: Service, receiver: Receiver, engine_name: str) -> None:
    """FAULTS_ROWS sets how many (200,000; in PostgreSQL a twentieth, of 20 KB each). All are taken, the wanted ones arrive, and the memory is that of any other day."""
    rows, text = (ROWS, "") if engine_name == "sqlite" else (ROWS // 20, "x" * 20_000)
    service.migrate()
    service.webhook(receiver.url, "lead.*")
    daemon = DaemonProcess(service)
    daemon.start()
    try:
        service.insert(kind="lead.created")
        await service.until(lambda: receiver.requests)
        before = peak(daemon)
        conn = service.producer()
        with conn:
            conn.execute(INSERT, (rows, text))
        begin = time.monotonic()
        unread = "SELECT 1 FROM outbox WHERE fanned_out_at IS NULL LIMIT 1"
        await service.until(lambda: conn.execute(unread).fetchone() is None, within=800)
        took = time.monotonic() - begin
        conn.close()
        await service.until(lambda: len(receiver.requests) >= rows // 1000 + 1, within=60)
        after = peak(daemon)
        assert daemon.stop() == 0
    finally:
        daemon.close()
    say_figures("rows in one transaction", rows=rows, seconds=round(took), memory_mib=[before // MIB, after // MIB])
    assert after < MOST
    taken = service.read(lambda conn: conn.execute("SELECT count(*) FROM events").fetchone()[0])
    assert taken == rows + 1


async def test_payloads_of_100_mb(service: Service, receiver: Receiver) -> None:
    """One row's payload is looked at at a time, its size alone is kept; the rows behind arrive."""
    service.migrate()
    service.webhook(receiver.url)
    daemon = DaemonProcess(service)
    conn = service.producer_without_rules()
    for _ in range(5):
        with conn:
            conn.execute(
                "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', ?)",
                ('{"a":"' + "x" * 100_000_000 + '"}',),
            )
    service.insert()
    daemon.start()
    try:
        await service.until(lambda: receiver.requests)
        rejected = "SELECT rejected_reason FROM outbox WHERE rejected_reason IS NOT NULL"
        await service.until(lambda: len(conn.execute(rejected).fetchall()) == 5)
        assert {row[0] for row in conn.execute(rejected)} == {"payload is larger than 256 KiB (100000008 bytes)"}
        most = peak(daemon)
        assert daemon.stop() == 0
    finally:
        daemon.close()
        conn.close()
    say_figures("payloads of 100 MB", memory_mib=most // MIB)
    assert most < MOST + 100 * MIB
