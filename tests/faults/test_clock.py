"""The clock jumps: under a daemon, with requests in flight, and while none runs. No storm, no hour of silence."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.model import Outcome
from almirant_webhooks.storage.sql import waits

from ..conftest import Receiver
from ..support import needs
from ..support.service import Service
from ..support.steps import START, Steps
from .process import DaemonProcess

HOUR = timedelta(hours=1)


class ClockOfProcess:
    """The clock of a daemon's process, apart from everybody else's."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(file)}

    def set(self, hours: int) -> None:
        """Set it to so many hours from the true time."""
        with self._file.open("r+b", buffering=0) as file:
            file.write((hours * 3600).to_bytes(8, sys.byteorder, signed=True))


class Gate:
    """Answers first attempts with 500 and later ones with 200, those on /broken always with 500; can be closed."""

    def __init__(self, receiver: Receiver) -> None:
        self.paths: Counter[str] = Counter()
        self.waiting = 0
        self._opened = asyncio.Event()
        self._opened.set()
        receiver.answer = self._answer

    def close(self) -> None:
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    async def _answer(self, request: web.Request) -> web.Response:
        self.paths[request.path] += 1
        self.waiting += 1
        await self._opened.wait()
        self.waiting -= 1
        again = request.headers["X-Almirant-Attempt"] != "1" and not request.path.endswith("broken")
        return web.Response(status=200 if again else 500)


@pytest.mark.parametrize("at_once", [1, 50_000])
def test_a_clock_set_back_lets_no_delivery_wait_longer(
    steps: Steps, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries keep their wait, what was due is due, and what was made since is left as it is; in however many statements."""
    monkeypatch.setattr(waits, "LOOKED_AT", at_once)
    webhook = steps.webhook()
    steps.event()
    steps.attempt(webhook, START, Outcome.TIMEOUT)  # again in a minute
    steps.event()  # due now
    hour = timedelta(hours=1)
    earlier = START - hour
    assert steps.shift_due(hour, earlier) == 2
    steps.event(earlier)
    assert len(steps.claim(webhook, earlier)) == 2
    assert steps.claim(webhook, earlier + timedelta(seconds=59)) == []
    assert len(steps.claim(webhook, earlier + timedelta(minutes=1))) == 1


def has_come(receiver: Receiver) -> int:
    """Count the deliveries of which a request has arrived."""
    return len({request.headers["X-Almirant-Delivery"] for request in receiver.requests})


async def test_a_clock_that_jumps_under_the_daemon_makes_neither_a_storm_nor_an_hour_of_silence(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour forward and back while a request is in flight and a retry waits: durations are right, all arrives."""
    real, jumped = clock.now, [timedelta(0)]
    monkeypatch.setattr(clock, "now", lambda: real() + jumped[0])
    service.options["delivery"] = {"retry_schedule": ["0s", "3s", "1h"]}
    Gate(receiver)
    await service.start()
    service.webhook(receiver.url)
    for number, jump in enumerate((timedelta(hours=1), timedelta(0), -timedelta(hours=1)), 1):
        jumped[0] = jump
        service.insert()
        await service.until(lambda number=number: has_come(receiver) == number)  # type: ignore[misc]
    await service.until(lambda: len(service.log(state="succeeded")) == 3, within=30)
    assert len(receiver.requests) == 6
    assert all(row["duration_ms"] < 5000 for row in service.log())


@pytest.mark.parametrize("at_once", [1, 50_000])
def test_a_clock_set_back_while_no_daemon_ran_lets_no_delivery_wait_longer(
    steps: Steps, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait that was written by that clock is counted from the start; what is made since is left as it is."""
    monkeypatch.setattr(waits, "LOOKED_AT", at_once)
    webhook = steps.webhook()
    steps.event()
    steps.attempt(webhook, START, Outcome.TIMEOUT)  # again in a minute
    steps.event()  # due now
    earlier = START - HOUR
    assert steps.claim(webhook, earlier + timedelta(minutes=50)) == [], "there is nothing to mend"
    assert waits.has_later_times(steps.conn, earlier)
    assert steps.shorten_waits(earlier) == 2
    steps.event(earlier)
    assert steps.shorten_waits(earlier + timedelta(seconds=1)) == 0  # the next start, a moment later
    assert len(steps.claim(webhook, earlier)) == 2
    assert steps.claim(webhook, earlier + timedelta(seconds=59)) == []
    assert len(steps.claim(webhook, earlier + timedelta(minutes=1))) == 1


def test_a_start_with_a_clock_that_is_right_changes_no_wait(steps: Steps) -> None:
    """Nor does one with a clock that was set forward; two hours that a receiver asked for are kept."""
    webhook = steps.webhook()
    steps.event()
    steps.attempt(webhook, START, Outcome.HTTP_ERROR, status_code=429, retry_after=7200)
    assert not waits.has_later_times(steps.conn, START)
    assert not waits.has_later_times(steps.conn, START + HOUR)
    assert steps.shorten_waits(START) == 0
    assert steps.only()["next_attempt_at"] == clock.text(START + 2 * HOUR)


@pytest.fixture
def its_clock(tmp_path: Path) -> ClockOfProcess:
    made = needs.shared_library(Path(__file__).with_name("clock.c"), tmp_path)
    return ClockOfProcess(made, tmp_path / "ahead")


@pytest.mark.slow
async def test_the_clock_of_a_running_daemon_is_set_while_requests_are_in_flight(
    service: Service, receiver: Receiver, its_clock: ClockOfProcess
) -> None:
    """Forward an hour, back an hour, and back one more: durations are right, each retry comes after its own wait.

    A delivery whose retry is an hour away gets one attempt when that hour is jumped over, and not one more.
    """
    service.options["delivery"] = {"retry_schedule": ["0s", "1s", *["1h"] * 8]}
    service.migrate()
    gate = Gate(receiver)
    service.webhook(f"{receiver.url}/good", "lead.*")
    service.webhook(f"{receiver.url}/broken", "deal.*")
    daemon = DaemonProcess(service, environment=its_clock.environment)
    daemon.start()
    try:
        service.insert(kind="deal.closed")
        await service.until(lambda: gate.paths["/in/broken"] == 2)  # the third is an hour away
        for number, hours in enumerate((1, 0, -1), 1):
            gate.close()
            service.insert(*[{}] * 5, kind="lead.created")
            await service.until(lambda: gate.waiting)
            its_clock.set(hours)
            service.insert(kind="lead.updated")
            gate.open()
            await service.until(lambda number=number: len(service.log(state="succeeded", limit=100)) == 6 * number)  # type: ignore[misc]
            assert gate.paths["/in/broken"] == 3, hours
    finally:
        daemon.close()
    attempts = service.read(lambda conn: conn.execute("SELECT outcome, duration_ms FROM attempts").fetchall())
    assert len(attempts) == 3 + 2 * 3 * 6
    assert {row[0] for row in attempts} == {"http_error", "success"}
    assert all(0 <= row[1] < 5000 for row in attempts)


@pytest.mark.slow
async def test_a_clock_set_back_while_the_daemon_is_stopped_makes_no_hour_of_silence(
    service: Service, receiver: Receiver, its_clock: ClockOfProcess
) -> None:
    """What waited is sent after its own wait."""
    service.options["delivery"] = {"retry_schedule": ["0s", "3s"]}
    service.migrate()
    gate = Gate(receiver)
    service.webhook(receiver.url)
    daemon = DaemonProcess(service, environment=its_clock.environment)
    daemon.start()
    try:
        service.insert(*[{}] * 20)
        await service.until(lambda: len(service.log(status="500", limit=100)) == 20)
        assert daemon.stop() == 0
        assert set(gate.paths.values()) == {20}, "they did not wait"
        its_clock.set(-1)
        daemon.start()
        await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 20)
        said = daemon.log.read_text()  # of several daemons another may have run meanwhile
        assert "the clock was set back while no daemon ran" in said or "waits were longer than the schedule's" in said
    finally:
        daemon.close()
    assert set(gate.paths.values()) == {40}
