"""Power loss and failing calls: only what was synced survives, and every write or sync may fail."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..support import needs
from ..support.service import Service
from .process import COMMAND, DaemonProcess, ProducerProcess, RememberingReceiver, say_figures, whole

MOMENTS = int(os.environ.get("FAULTS_MOMENTS", "4"))
SEEDED_MOMENTS = 5  # of a seeded bug, which the first one finds as a rule
CALLS = int(os.environ.get("FAULTS_CALLS", "8"))
POWER_LOST = 77
WEAK = (sys.executable, str(Path(__file__).with_name("weak.py")))
pytestmark = [pytest.mark.slow, pytest.mark.sqlite]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that stands between SQLite and the kernel."""
    made = needs.shared_library(Path(__file__).with_name("shim.c"), tmp_path_factory.mktemp("shim"))
    return str(made)


@pytest.fixture
async def remembering() -> AsyncIterator[RememberingReceiver]:
    there = RememberingReceiver()
    await there.open()
    yield there
    await there.close()


class Machine:
    """A computer whose power fails: its files, and what tells its processes that the time has come."""

    def __init__(self, folder: Path, shim: str) -> None:
        folder.mkdir()
        self.service = Service(folder / "log.db", folder / "outbox.db")
        self.service.options["delivery"] = {"retry_schedule": ["0s"] + ["1s"] * 9}
        self.service.migrate()
        self._lose = folder / "lose-power"
        self.environment = {
            "LD_PRELOAD": shim,
            "SHIM_FILES": str(folder),
            "SHIM_LOSE": str(self._lose),
        }

    def lose_power(self) -> None:
        self._lose.touch()


def _lost_by_a_producer(machine: Machine, synchronous: str) -> int:
    """Let a producer insert until the power fails; return how many acknowledged events are gone."""
    producer = ProducerProcess(machine.service, "p", 1, synchronous, machine.environment)
    producer.start()
    time.sleep(random.uniform(0.8, 2.0))
    machine.lose_power()
    assert producer.wait() == POWER_LOST
    assert whole(machine.service.outbox_file) == "ok"
    conn = machine.service.producer()
    there = {row[0] for row in conn.execute("SELECT event_id FROM outbox")}
    conn.close()
    acknowledged = producer.acknowledged()
    assert acknowledged
    return len(acknowledged.keys() - there)


def test_what_was_acknowledged_to_a_producer_survives_a_power_loss(tmp_path: Path, shim: str) -> None:
    """At `synchronous=FULL` nothing is lost, whatever the moment."""
    for moment in range(MOMENTS):
        assert _lost_by_a_producer(Machine(tmp_path / str(moment), shim), "FULL") == 0


def test_at_normal_a_producer_does_lose_events(tmp_path: Path, shim: str) -> None:
    """This proves the harness, and is why the documents say FULL. A moment just after a checkpoint costs nothing."""
    machines = (Machine(tmp_path / str(moment), shim) for moment in range(SEEDED_MOMENTS))
    assert any(_lost_by_a_producer(machine, "NORMAL") for machine in machines)


async def _run_until_power_is_lost(
    machine: Machine, receiver: RememberingReceiver, command: tuple[str, ...] = (COMMAND,)
) -> list[str]:
    """Deliver beside the shim until the power fails; return what breaks the promise, before and after a restart."""
    service = machine.service
    for number in range(4):
        service.webhook(f"{receiver.url}/{number}")
    ids = service.insert(*({"n": number} for number in range(300)))
    receiver.wait = lambda: random.uniform(0.0, 0.05)
    daemon = DaemonProcess(service, command=command, environment=machine.environment)
    daemon.start()
    try:
        wanted = receiver.count + random.randrange(100, 900)
        await service.until(lambda: receiver.count >= wanted or daemon.died() is not None)
        machine.lose_power()
        service.insert({"n": "wakes it up"})
        assert await asyncio.to_thread(daemon.wait) == POWER_LOST
        await asyncio.sleep(0.1)
        broken = _requests_that_are_not_shown(service, receiver)
        if broken:
            return broken
        second = DaemonProcess(service)
        second.start()
        try:
            await _finish(service, second, broken)
        finally:
            second.close()
    finally:
        daemon.close()
    arrived = {body.split(b'"', 4)[3].decode() for arrivals in receiver.arrivals.values() for _, body, _ in arrivals}
    return [*broken, *(f"{event} was lost" for event in ids if event not in arrived)]


async def _finish(service: Service, daemon: DaemonProcess, broken: list[str]) -> None:
    query = "SELECT count(*), coalesce(sum(state <> 'succeeded'), 0) FROM deliveries"

    def done() -> bool:
        assert daemon.died() is None, daemon.log.read_text()[-4000:]
        conn = service.producer()
        unread = conn.execute("SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL").fetchone()[0]
        conn.close()
        return bool(unread == 0 and service.read(lambda conn: conn.execute(query).fetchone()[1]) == 0)

    await service.until(done)
    assert daemon.stop() in (0, -signal.SIGTERM)  # it may only just have begun
    broken += [path.name for path in (service.database, service.outbox_file) if whole(path) != "ok"]


def _requests_that_are_not_shown(service: Service, receiver: RememberingReceiver) -> list[str]:
    """Hold what left and what was answered against the log, as it survived."""

    def read(conn: object) -> dict[str, tuple[int, int]]:
        query = "SELECT delivery_id, count(*), coalesce(sum(outcome = 'success'), 0) FROM attempt_log GROUP BY 1"
        return {row[0]: (row[1], row[2]) for row in conn.execute(query)}  # type: ignore[attr-defined]

    shown = service.read(read)
    broken = [
        f"{delivery_id} left {len(arrivals)} times and is not shown as often"
        for delivery_id, arrivals in receiver.arrivals.items()
        if shown.get(delivery_id, (0, 0))[0] < len(arrivals)
    ]
    invented = [
        f"{delivery_id} is shown as a success that never happened"
        for delivery_id, (_, successes) in shown.items()
        if successes > len(receiver.arrivals.get(delivery_id, ()))
    ]
    return broken + invented


async def test_a_daemon_survives_a_power_loss(tmp_path: Path, shim: str, remembering: RememberingReceiver) -> None:
    """Both files at FULL: every event arrives, and every request that left is shown."""
    begin = time.monotonic()
    for moment in range(MOMENTS):
        remembering.arrivals.clear()
        assert await _run_until_power_is_lost(Machine(tmp_path / str(moment), shim), remembering) == []
    say_figures("power loss", moments=MOMENTS, minutes=round((time.monotonic() - begin) / 60, 1), losses=0)


async def test_a_daemon_at_normal_does_not(tmp_path: Path, shim: str, remembering: RememberingReceiver) -> None:
    """The same with the seeded bug: this proves the harness. A moment just after a checkpoint costs nothing."""
    for moment in range(SEEDED_MOMENTS):
        remembering.arrivals.clear()
        if await _run_until_power_is_lost(Machine(tmp_path / str(moment), shim), remembering, WEAK):
            return
    pytest.fail("the power was lost, and nothing with it")


@pytest.mark.timeout(120 + 8 * CALLS * 4)
@pytest.mark.parametrize(
    ("call", "number"),
    [("write", errno.EIO), ("write", errno.ENOSPC), ("sync", errno.EIO)],
    ids=["a write fails", "no space for a write", "a sync fails"],
)
async def test_failing_calls_lose_nothing(
    tmp_path: Path, shim: str, remembering: RememberingReceiver, call: str, number: int
) -> None:
    """The nth write or sync fails, and some after it: nothing is lost, nothing is recorded that did not happen."""
    begin, most = time.monotonic(), 150 if call == "write" else 40
    for at in sorted(random.sample(range(1, most), min(CALLS, most - 1))):
        remembering.arrivals.clear()
        folder = tmp_path / str(at)
        machine = Machine(folder, shim)
        service = machine.service
        for webhook in range(2):
            service.webhook(f"{remembering.url}/{webhook}")
        ids = service.insert(*({"n": n} for n in range(20)))
        daemon = DaemonProcess(
            service,
            environment={
                "LD_PRELOAD": shim,
                "SHIM_FILES": str(folder),
                "SHIM_CALL": call,
                "SHIM_ERRNO": str(number),
                "SHIM_AT": str(at),
                "SHIM_TIMES": str(random.choice([1, 1, 3])),
            },
        )
        broken: list[str] = []
        daemon.start()
        try:
            if await _settled(service, daemon, 2 * len(ids)):
                daemon.kill()
            broken = _requests_that_are_not_shown(service, remembering)
        finally:
            daemon.close()
        second = DaemonProcess(service)
        second.start()
        try:
            await _finish(service, second, broken)
        finally:
            second.close()
        arrived = {body.split(b'"', 4)[3].decode() for got in remembering.arrivals.values() for _, body, _ in got}
        assert (broken, set(ids) - arrived) == ([], set()), f"call {at}"
    say_figures(
        f"failing calls: {call} {errno.errorcode[number]}",
        runs=CALLS,
        minutes=round((time.monotonic() - begin) / 60, 1),
    )


async def _settled(service: Service, daemon: DaemonProcess, deliveries: int) -> bool:
    """Wait until all has succeeded in spite of the failure; False when the daemon has gone, as it may at its start."""
    query = "SELECT count(*) FROM deliveries WHERE state = 'succeeded'"
    while service.read(lambda conn: conn.execute(query).fetchone()[0]) < deliveries:
        if daemon.died() is not None:
            return False
        await asyncio.sleep(0.02)
    return True
