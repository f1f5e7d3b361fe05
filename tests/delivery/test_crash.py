"""`kill -9` of a real daemon: nothing is lost, and what arrives twice is explained by an interrupted attempt."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ..conftest import Receiver
from ..support.service import Service

COMMAND = str(Path(sys.executable).parent / "almirant-webhooks")
EVENTS = 200


@pytest.mark.long
async def test_a_killed_daemon_loses_nothing(service: Service, receiver: Receiver, engine_name: str) -> None:
    """Killed three times with requests in flight: each event arrives, duplicates are as many as interruptions at most."""
    service.migrate()
    for _ in range(4):
        service.webhook(receiver.url)
    config = service.shell().config
    ids = service.insert(*({"n": number} for number in range(EVENTS)))
    for _ in range(3):
        before = len(receiver.requests)
        with subprocess.Popen([COMMAND, "serve", "--config", str(config)], stderr=subprocess.DEVNULL) as daemon:
            await service.until(lambda before=before: len(receiver.requests) > before + EVENTS // 2, within=60)  # type: ignore[misc]
            daemon.kill()
    await service.start()
    await service.until(lambda: len(service.log(state="succeeded", limit=5000)) == 4 * EVENTS, within=120)

    arrived = Counter(request.headers["X-Almirant-Delivery"] for request in receiver.requests)
    assert Counter(json.loads(request.body)["id"] for request in receiver.requests).keys() == set(ids)
    assert len(arrived) == 4 * EVENTS
    bodies = {(request.headers["X-Almirant-Delivery"], request.body) for request in receiver.requests}
    assert len(bodies) == len(arrived)
    for delivery_id, times in arrived.items():
        outcomes = Counter(attempt["outcome"] for attempt in service.detail(delivery_id)["attempt_list"])
        assert outcomes["success"] == 1
        assert times <= 1 + outcomes["interrupted"]
    if engine_name == "sqlite":
        checked = service.read(lambda conn: conn.execute("PRAGMA integrity_check").fetchone()[0])
        assert checked == "ok"
