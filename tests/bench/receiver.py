"""A receiver that answers at once, except at `/hang…`, and notes when each event arrives at `/ok…`."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from .nginx import free_port, wait_for

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_EVENT = re.compile(rb'"id": ?"([A-Za-z0-9_:-]+)"')
_OK = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nthanks\n"


class _Connection(asyncio.Protocol):
    def __init__(self, arrivals: list[tuple[str, float]]) -> None:
        self._arrivals = arrivals
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._seen += data
        while (end := self._seen.find(b"\r\n\r\n")) >= 0:
            head = self._seen[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + int(length[1] if length else 0)
            if len(self._seen) < whole:
                return
            body, self._seen = self._seen[end + 4 : whole], self._seen[whole:]
            path = head.split(b" ", 2)[1]
            if path.startswith(b"/hang"):
                continue
            self._transport.write(_OK)
            event = _EVENT.search(body)
            if path.startswith(b"/ok") and event is not None:
                self._arrivals.append((event[1].decode(), now))


async def _serve(port: int, file: Path) -> None:
    arrivals: list[tuple[str, float]] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: _Connection(arrivals), "127.0.0.1", port, backlog=4096)
    await ended.wait()
    server.close()
    file.write_text("".join(f"{event} {moment}\n" for event, moment in arrivals))


@dataclass
class Receiver:
    """Its address, and, once it has ended, when events arrived at `/ok…` (monotonic seconds)."""

    url: str
    arrivals: dict[str, float]


@contextmanager
def receiver(folder: Path) -> Iterator[Receiver]:
    """Run the receiver as a process of its own."""
    port, file = free_port(), folder / f"arrivals-{time.monotonic_ns()}.txt"
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.receiver", str(port), str(file)])
    there = Receiver(f"http://127.0.0.1:{port}", {})
    try:
        wait_for(port)
        yield there
    finally:
        process.terminate()
        process.wait()
        for line in file.read_text().splitlines():
            event, moment = line.split()
            there.arrivals.setdefault(event, float(moment))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
