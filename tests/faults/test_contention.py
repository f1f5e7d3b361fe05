"""Others use the files at the same time, many at once or for long: nothing is lost, and it can be seen."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import ClientSession

from almirant_webhooks.storage.sqlite.connection import WAL_MOST

from ..conftest import Receiver
from ..support.service import Service
from .process import DaemonProcess, ProducerProcess, RememberingReceiver, whole

PRODUCERS = 10
EACH = 200  # events, at least

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]


@pytest.fixture(params=["one file", "the outbox in a file of its own"])
def anywhere(request: pytest.FixtureRequest, service: Service, tmp_path: Path) -> Service:
    if request.param != "one file":
        service.outbox = tmp_path / "outbox.db"
    return service


async def test_ten_producers_at_once_lose_nothing_and_none_is_turned_away(anywhere: Service, free_port: int) -> None:
    """Processes of their own that write without a rest, beside a daemon that delivers meanwhile; the waits show in a metric."""
    service, receiver = anywhere, RememberingReceiver()
    await receiver.open()
    service.options["admin"] = {"listen": f"127.0.0.1:{free_port}"}
    service.migrate()
    service.webhook(receiver.url, project="proj_0")
    producers = [
        ProducerProcess(service, f"p{number}", 1, environment={"PRODUCER_REST": "0"}) for number in range(PRODUCERS)
    ]
    daemon = DaemonProcess(service)
    daemon.start()
    try:
        for producer in producers:
            producer.start()
        await service.until(lambda: all(len(one.acknowledged()) >= EACH for one in producers) and receiver.count)
        for producer in producers:
            producer.kill()  # one that had died of a lock is an error
        acknowledged = {event for one in producers for event in one.acknowledged()}
        # One that was killed before it could tell of its last commit has committed it all the same.
        with closing(service.producer()) as conn:
            committed = {event for (event,) in conn.execute("SELECT event_id FROM outbox")}
        await service.until(lambda: len(receiver.arrivals) >= len(committed), within=120)
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{free_port}/metrics") as answer:
            metrics = dict(line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if line[0] != "#")
        assert daemon.stop() == 0
    finally:
        daemon.close()
        for producer in producers:
            producer.close()
        await receiver.close()
    arrived = {body.split(b'"', 4)[3].decode() for arrivals in receiver.arrivals.values() for _, body, _ in arrivals}
    assert acknowledged <= committed == arrived
    assert all(len(arrivals) == 1 for arrivals in receiver.arrivals.values())
    assert float(metrics["almirant_webhooks_lock_wait_seconds_sum"]) > 0
    assert {whole(service.database), whole(service.outbox_file)} == {"ok"}


async def test_a_reader_that_stays_lets_the_wal_grow_and_it_is_short_again_once_it_has_gone(
    anywhere: Service, receiver: Receiver
) -> None:
    """Deliveries go on beside it, the length shows in a metric, and nobody has to do anything."""
    service = anywhere
    daemon = await service.start()
    service.webhook(receiver.url, "lead.*")
    reader = sqlite3.connect(service.outbox_file, isolation_level=None)
    reader.execute("BEGIN")
    seen = reader.execute("SELECT count(*) FROM outbox").fetchone()[0]
    wal = Path(f"{service.outbox_file}-wal")
    sent = 0
    while wal.stat().st_size <= WAL_MOST:
        service.insert(*[{"text": "x" * 200_000}] * 20, kind="deal.closed")
        service.insert(kind="lead.created")
        sent += 1
        await service.until(lambda sent=sent: len(receiver.requests) == sent)  # type: ignore[misc]
    await service.until(
        lambda: (daemon.metrics.registry.get_sample_value("almirant_webhooks_wal_bytes") or 0) > WAL_MOST
    )
    assert reader.execute("SELECT count(*) FROM outbox").fetchone()[0] == seen
    reader.execute("COMMIT")
    reader.close()
    await service.until(lambda: wal.stat().st_size < WAL_MOST / 4)
    service.insert(kind="lead.created")
    await service.until(lambda: len(receiver.requests) == sent + 1)
