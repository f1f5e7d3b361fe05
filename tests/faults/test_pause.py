"""The process is paused, as a suspended machine or SIGSTOP does: answers that came meanwhile lie in its sockets, and count."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from ..support.hostile import OK, read_request, server
from ..support.service import Service
from .process import DaemonProcess

LIMIT = 2.0  # seconds
PAUSE = 4.0
WEBHOOKS = 20


@pytest.fixture
def daemon(service: Service, tmp_path: Path) -> Iterator[DaemonProcess]:
    service.options["delivery"] = {"timeout": f"{LIMIT:g}s"}
    service.options["egress"] = {"allow_localhost": True, "ca_file": str(tmp_path / "ca.pem")}
    service.migrate()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    process = DaemonProcess(service)
    yield process
    process.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_answers_that_came_during_a_pause_of_the_process_count(
    service: Service, daemon: DaemonProcess, tmp_path: Path, scheme: str
) -> None:
    """However long past the time limit it goes on: each delivery succeeds by its one attempt, and none is sent again."""
    asked = asyncio.Semaphore(0)
    paused = asyncio.Event()
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while await read_request(reader):
            count += 1
            asked.release()
            await paused.wait()
            writer.write(OK + b"Content-Length: 0\r\n\r\n")

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    async with server(serve, tls if scheme == "https" else None) as port:
        for number in range(WEBHOOKS):
            service.webhook(f"{scheme}://localhost:{port}/{number}")
        daemon.start()
        daemon.until_it_said("started")
        service.insert()
        for _ in range(WEBHOOKS):
            await asked.acquire()
        os.kill(daemon.pid, signal.SIGSTOP)
        paused.set()
        await asyncio.sleep(PAUSE)  # this is the pause
        os.kill(daemon.pid, signal.SIGCONT)
        await service.until(lambda: [row["state"] for row in service.log(limit=99)].count("succeeded") == WEBHOOKS)
        assert await asyncio.to_thread(daemon.stop) == 0
    assert {(row["attempts"], row["tries"]) for row in service.log(limit=99)} == {(1, 1)}
    assert count == WEBHOOKS
