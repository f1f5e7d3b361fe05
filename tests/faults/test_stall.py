"""A loop that stands still: readiness goes false first, and the watchdog ends it after that, never the other way round."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from ..support.service import Service
from .process import DaemonProcess

BLOCKING = (sys.executable, str(Path(__file__).with_name("blocking.py")))
WATCHDOG = 6.0  # seconds; the unit has 15
PROBE = 1.0  # seconds that a probe waits for an answer, as Kubernetes' do and load balancers' at most

pytestmark = [pytest.mark.slow, pytest.mark.alone]


class Manager:
    """What systemd is to a service: told its state by datagrams, and with a watchdog."""

    def __init__(self, folder: Path, service: Service, port: int, block_seconds: float) -> None:
        path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        service.options["admin"] = {"listen": f"127.0.0.1:{port}"}
        service.migrate()
        self.url = f"http://127.0.0.1:{port}/readyz"
        self.last_fed = 0.0
        environment = {
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": str(int(WATCHDOG * 1_000_000)),
            "BLOCK_SECONDS": str(block_seconds),
        }
        self.daemon = DaemonProcess(service, command=BLOCKING, environment=environment)

    async def told(self, words: str, within: float = 30) -> None:
        """Wait until the service has told this."""
        async with asyncio.timeout(within):
            while True:
                state = (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()
                if "WATCHDOG=1" in state:
                    self.last_fed = time.monotonic()
                if words in state:
                    return

    async def probe(self, within: float = PROBE) -> tuple[int, str]:
        """Ask whether it is ready; raises TimeoutError for no answer, which is not ready to whoever asks."""
        async with asyncio.timeout(within), ClientSession() as session, session.get(self.url) as answer:
            return answer.status, await answer.text()

    def close(self) -> None:
        self.daemon.close()
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, service: Service, free_port: int, request: pytest.FixtureRequest) -> Iterator[Manager]:
    """The parameter says for how long the loop stands still."""
    there = Manager(tmp_path, service, free_port, request.param)
    yield there
    there.close()


@pytest.mark.parametrize("manager", [1000.0], indirect=True)
async def test_a_blocked_loop_is_not_ready_before_the_watchdog_ends_it(manager: Manager) -> None:
    """A probe gets no answer long before the watchdog's time is over; then the log tells where the loop stood."""
    manager.daemon.start()
    await manager.told("READY=1")
    await manager.told("WATCHDOG=1")
    assert (await manager.probe())[0] == 200
    os.kill(manager.daemon.pid, signal.SIGUSR1)
    with pytest.raises(TimeoutError):
        await manager.probe()
    assert time.monotonic() < manager.last_fed + WATCHDOG
    assert manager.daemon.died() is None
    with pytest.raises(TimeoutError):
        await manager.told("WATCHDOG=1", within=manager.last_fed + WATCHDOG - time.monotonic())
    os.kill(manager.daemon.pid, signal.SIGABRT)  # as systemd does then
    assert await asyncio.to_thread(manager.daemon.wait) == -signal.SIGABRT
    assert "in stand_still" in manager.daemon.log.read_text()


@pytest.mark.parametrize("manager", [3.0], indirect=True)
async def test_a_loop_that_goes_on_by_fits_and_starts_says_so(manager: Manager) -> None:
    """503 in words, to systemd too, while it still feeds the watchdog; 200 again once it beats in time."""
    manager.daemon.start()
    await manager.told("READY=1")
    os.kill(manager.daemon.pid, signal.SIGUSR1)
    status, words = await manager.probe(within=30)
    assert (status, "the event loop stood still for" in words) == (503, True), words
    await manager.told("STATUS=the event loop stood still for")
    await manager.told("WATCHDOG=1")
    assert manager.daemon.died() is None
    await manager.told("STATUS=delivering")
    assert (await manager.probe())[0] == 200
    assert manager.daemon.stop() == 0
