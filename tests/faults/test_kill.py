"""`kill -9` under load, over and over, and an event that kills the daemon whenever it is sent."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.rules import filters
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.storage.sql import replays

from ..support.service import Service
from .process import COMMAND, DaemonProcess, ProducerProcess, RememberingReceiver, say_figures, whole

pytestmark = pytest.mark.sqlite

KILLS = int(os.environ.get("FAULTS_KILLS", "50"))
PROJECTS = 8
WEBHOOKS = 6  # in each project
# The path of the webhook whose deliveries leave in order, and its filter: as it gets one request at a time, it takes few events.
ORDERED, FEW = "/1/0", 60
RESTART_WITHIN = 2.0
IMPORT = "import aiohttp.web, pydantic_settings, structlog, cryptography.fernet"
IMPORT_TAKES = 0.4  # seconds of an idle machine; most of a start is this
STUCK = 60.0  # seconds without any progress


@pytest.fixture
async def remembering() -> AsyncIterator[RememberingReceiver]:
    there = RememberingReceiver()
    await there.open()
    yield there
    await there.close()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(180 + 6 * KILLS)
async def test_a_daemon_killed_over_and_over_loses_nothing(tmp_path: Path, remembering: RememberingReceiver) -> None:
    """Producers are killed too. FAULTS_KILLS sets how often the daemon is (50), FAULTS_SEED repeats a run's moments.

    Every acknowledged event arrives at every webhook, and by a replay at one that is created half-way; what arrives twice
    has the same bytes and is explained by an attempt that is shown as interrupted; an ordered webhook with a filter
    sees in order what that lets through; the first request comes within 2 s of a restart, however much has gathered; nothing is stuck; both files are whole.
    """
    restarts, computed, imports = await kill_over_and_over(tmp_path, remembering, KILLS)
    # A machine that is shared is some times slower, in processor time too: the libraries alone are loaded beside.
    waited, cpu = (max(1.0, statistics.median(seconds) / IMPORT_TAKES) for seconds in zip(*imports, strict=True))
    assert max(computed) < RESTART_WITHIN * cpu
    assert statistics.median(restarts) < RESTART_WITHIN * waited


async def kill_over_and_over(
    folder: Path, remembering: RememberingReceiver, kills: int, command: tuple[str, ...] = (COMMAND,)
) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """Kill a daemon at random moments, hold all but the time, and return the seconds of each first request.

    With them comes what the libraries alone took, in seconds by the clock and of processor time.
    """
    seed = os.environ.get("FAULTS_SEED") or str(random.randrange(10**9))
    dice = random.Random(seed)
    service = Service(folder / "log.db", folder / "outbox.db")
    service.options["delivery"] = {"retry_schedule": ["0s"] + ["1s"] * 29}
    service.migrate()
    remembering.wait = lambda: dice.uniform(0.05, 0.8)
    for project in range(PROJECTS):
        for number in range(WEBHOOKS):
            path = f"/{project}/{number}"
            few = filters.check([f"data.text < {'é' * FEW}"])
            options: dict[str, Any] = {"ordered": True, "filter": few} if path == ORDERED else {}
            service.webhook(f"{remembering.url}{path}", project=f"proj_{project}", **options)
    producers = [ProducerProcess(service, name, PROJECTS) for name in ("left", "right")]
    daemon = DaemonProcess(service, command=command)
    begin = time.monotonic()
    restarts: list[float] = []
    computed: list[float] = []
    in_flight: list[int] = []
    imports: list[tuple[float, float]] = []
    try:
        for producer in producers:
            producer.start()
        for number in range(kills):
            if number % 5 == 0:
                imports.append(await asyncio.to_thread(_import))
            waited, cpu = await _start(daemon, remembering)
            restarts.append(waited)
            computed.append(cpu)
            await asyncio.sleep(dice.uniform(0.0, 2.0))
            daemon.kill()
            if number == kills // 2:
                _replay_to_a_late_webhook(service, remembering)
            in_flight.append(remembering.in_flight)
            if dice.random() < 0.3:
                producer = dice.choice(producers)
                producer.kill()
                producer.start()
        remembering.wait = 0.01  # what has gathered is worked off quickly
        await _start(daemon, remembering)
        for producer in producers:
            producer.kill()
        await _drain(service, daemon)
        assert daemon.stop() == 0
    finally:
        daemon.close()
        for producer in producers:
            producer.close()
    events = {event: project for producer in producers for event, project in producer.acknowledged().items()}
    duplicates, interrupted = _check_arrivals(service, remembering, events)
    _check_order(service, remembering)
    assert [whole(path) for path in (service.database, service.outbox_file)] == ["ok", "ok"]
    say_figures(
        "kill -9 under load",
        seed=seed,
        kills=kills,
        minutes=round((time.monotonic() - begin) / 60, 1),
        events=len(events),
        deliveries=len(events) * WEBHOOKS,
        requests=remembering.count,
        in_flight_at_a_kill=round(statistics.mean(in_flight)),
        interrupted=interrupted,
        duplicates=duplicates,
        losses=0,
        first_request_s=[round(statistics.median(restarts), 2), round(max(restarts), 2)],
        libraries_alone_s=[round(statistics.median(seconds), 2) for seconds in zip(*imports, strict=True)],
        of_it_computing_s=[round(statistics.median(computed), 2), round(max(computed), 2)],
    )
    return restarts, computed, imports


def _replay_to_a_late_webhook(service: Service, receiver: RememberingReceiver) -> None:
    """Create a webhook that lacks what was taken so far, and begin to send it that."""
    webhook, now = service.webhook(f"{receiver.url}/0/late", project="proj_0"), clock.now()
    selection = ReplaySelection(webhook.id, now - timedelta(days=1))
    counted = service.read(replays.count, selection, now=now, kept=timedelta(days=30))
    service.write(replays.start, selection, counted, actor="operator", now=now)


def _import() -> tuple[float, float]:
    """Load the libraries in a process of its own; return the seconds by the clock and of processor time."""
    begin = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", IMPORT])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.monotonic() - begin, used.ru_utime + used.ru_stime


async def _start(daemon: DaemonProcess, receiver: RememberingReceiver) -> tuple[float, float]:
    """Start the daemon; return the seconds until its first request arrives, and how many of them it computed."""
    receiver.forget_connections()
    before, begin = receiver.of_new_connections, time.monotonic()
    daemon.start()
    while receiver.of_new_connections == before:
        assert daemon.died() is None, daemon.log.read_text()[-4000:]
        assert time.monotonic() - begin < 60, "no request came"
        await asyncio.sleep(0.002)
    return time.monotonic() - begin, daemon.cpu_seconds()


async def _drain(service: Service, daemon: DaemonProcess) -> None:
    """Wait until all is finished, however much has gathered; no progress for so long is a stuck delivery."""
    left, since = _unfinished(service), time.monotonic()
    while left:
        assert daemon.died() is None, daemon.log.read_text()[-4000:]
        assert time.monotonic() - since < STUCK, f"{left} are stuck"
        await asyncio.sleep(0.5)
        before, left = left, _unfinished(service)
        since = since if left == before else time.monotonic()


def _unfinished(service: Service) -> int:
    conn = service.producer()
    unread = conn.execute(
        "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL AND rejected_reason IS NULL"
    ).fetchone()[0]
    conn.close()
    query = (
        "SELECT (SELECT count(*) FROM deliveries WHERE state = 'pending' OR in_flight = 1) + "
        "(SELECT count(*) FROM resends WHERE finished_at IS NULL)"
    )
    return int(unread) + int(service.read(lambda conn: conn.execute(query).fetchone()[0]))


def _check_arrivals(service: Service, receiver: RememberingReceiver, events: dict[str, str]) -> tuple[int, int]:
    """Hold every arrival against the log; return how many were duplicates, and how many attempts were interrupted."""

    def read(conn: object) -> tuple[dict[str, str], dict[str, tuple[int, int]], int]:
        execute = conn.execute  # type: ignore[attr-defined]
        states = dict(execute("SELECT id, state FROM deliveries").fetchall())
        counts = {
            row[0]: (row[1], row[2])
            for row in execute(
                "SELECT delivery_id, sum(outcome = 'success'), sum(outcome = 'interrupted') FROM attempts GROUP BY 1"
            )
        }
        return states, counts, execute("SELECT count(*) FROM deliveries WHERE in_flight = 1").fetchone()[0]

    states, counts, left_open = service.read(read)
    assert left_open == 0
    assert set(states.values()) == {"succeeded"}
    assert states.keys() == receiver.arrivals.keys()
    reached: dict[str, set[str]] = {}
    duplicates = 0
    for delivery_id, arrivals in receiver.arrivals.items():
        bodies = {body for _, body, _ in arrivals}
        assert len(bodies) == 1, "the bytes of a delivery changed"
        (path,) = {path for _, _, path in arrivals}
        event = bodies.pop().split(b'"', 4)[3].decode()
        assert path not in reached.setdefault(event, set()), "two deliveries of one event to one webhook"
        reached[event].add(path)
        succeeded, interrupted = counts[delivery_id]
        assert succeeded == 1
        assert len(arrivals) <= 1 + interrupted, "a duplicate that no interrupted attempt explains"
        duplicates += len(arrivals) - 1
    for event, project in events.items():
        expected = {f"/{project.removeprefix('proj_')}/{number}" for number in range(WEBHOOKS)}
        expected |= {"/0/late"} if project == "proj_0" else set()
        if int(event.rpartition(":")[2]) % 300 >= FEW:  # as `producer` makes its texts
            expected.discard(ORDERED)
        assert reached.get(event) == expected, f"{event} was lost"
    return duplicates, sum(interrupted for _, interrupted in counts.values())


def _check_order(service: Service, receiver: RememberingReceiver) -> None:
    """Hold what the ordered webhook was sent against the places of its deliveries; one may come again before the next."""
    query = "SELECT d.id FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE w.ordered = 1 ORDER BY d.rowid"
    places = [row[0] for row in service.read(lambda conn: conn.execute(query).fetchall())]
    sent = sorted((at, delivery) for delivery in places for at, _, _ in receiver.arrivals[delivery])
    assert [delivery for delivery, _ in groupby(delivery for _, delivery in sent)] == places
