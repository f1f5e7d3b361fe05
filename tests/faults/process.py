"""The daemon as a real process, producers as real processes, and a receiver that remembers what it was sent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from ..support.service import Service

COMMAND = str(Path(sys.executable).parent / "almirant-webhooks")


class DaemonProcess:
    """`almirant-webhooks serve` on a service's files; its log goes to a file."""

    def __init__(
        self,
        service: Service,
        *,
        command: tuple[str, ...] = (COMMAND,),
        words: tuple[str, ...] = ("serve",),
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder = folder or service.database.parent
        self.log = folder / "daemon.log"
        self._command = (*command, *words)
        self._environment = {**os.environ, **(environment or {})}
        self._config = folder / "config.toml"
        self._config.write_text(_toml(service))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Return how long it has computed so far, however busy the machine is (proc(5), utime and stime)."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def start(self, **options: Any) -> None:
        """Start it; options are those of `subprocess.Popen`: another `stderr` than the file, say."""
        with self.log.open("ab") as log:
            options = {"stderr": log, "env": self._environment, **options}
            self._process = subprocess.Popen([*self._command, "--config", str(self._config)], **options)

    def died(self) -> int | None:
        """Return the exit code of a daemon that has gone, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout=30)

    def until_it_said(self, words: str) -> None:
        """Wait until its log has these words; a daemon that ends without them is an error."""
        while words not in self.log.read_text():
            assert self.died() is None, self.log.read_text()[-4000:]
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it as the kernel does; a daemon that was gone already is an error."""
        assert self._process is not None
        assert self.died() is None, self.log.read_text()[-4000:]
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 30) -> int:
        """Stop it by a signal; return its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(timeout=within)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _toml(service: Service) -> str:
    return "\n".join(
        f"[{section}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
        for section, keys in service.values().items()
    )


class ProducerProcess:
    """A process that inserts and commits without a pause and tells each event id once its commit has returned."""

    def __init__(
        self,
        service: Service,
        name: str,
        projects: int,
        synchronous: str = "FULL",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._words = [str(service.outbox_file), name, str(projects), synchronous]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._told: list[Path] = []
        self._folder = service.database.parent

    def start(self) -> None:
        told = self._folder / f"{self._words[1]}-{len(self._told)}.told"
        self._told.append(told)
        name = f"{self._words[1]}-{len(self._told)}"
        with told.open("wb") as out:
            script = str(Path(__file__).with_name("producer.py"))
            words = [sys.executable, script, self._words[0], name, *self._words[2:]]
            self._process = subprocess.Popen(words, stdout=out, env=self._environment)

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout=30)

    def kill(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, "the producer died of itself"
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def acknowledged(self) -> dict[str, str]:
        """Return the events whose INSERT was acknowledged, with their projects; a line that was cut off is none."""
        lines = [line for told in self._told for line in told.read_text().splitlines(keepends=True)]
        return {line.split()[0]: line.split()[1] for line in lines if line.endswith("\n")}


class RememberingReceiver:
    """Answers after a while, and keeps which bytes came with which delivery id, and when."""

    def __init__(self) -> None:
        self.arrivals: dict[str, list[tuple[float, bytes, str]]] = defaultdict(list)
        self.last_arrival = 0.0
        self.count = 0
        self.of_new_connections = 0
        self.in_flight = 0
        self._old: set[int] = set()
        self.wait: float | Any = 0.0
        self.url = ""

    async def open(self, port: int = 0) -> None:
        """Listen on a port, 0 for one that is free."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024).start()
        self.port = int(self._runner.addresses[0][1])
        self.url = f"http://127.0.0.1:{self.port}"

    async def close(self) -> None:
        await self._runner.cleanup()

    def forget_connections(self) -> None:
        """Take no connection that is there now for one of a daemon that is started later.

        What a killed daemon sent is read after its death, and looks like the first request of the next one.
        """
        self._old = {
            int(words[2].rpartition(":")[2], 16)
            for words in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
            if int(words[1].rpartition(":")[2], 16) == self.port
        }

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.last_arrival = time.monotonic()
        assert request.transport is not None
        self.of_new_connections += request.transport.get_extra_info("peername")[1] not in self._old
        self.count += 1
        self.arrivals[request.headers["X-Almirant-Delivery"]].append((self.last_arrival, body, request.path))
        self.in_flight += 1
        try:
            await asyncio.sleep(self.wait() if callable(self.wait) else self.wait)
        finally:
            self.in_flight -= 1
        return web.Response(text="thanks")


def whole(path: Path) -> str:
    """Return what SQLite's own check says of a file."""
    conn = sqlite3.connect(path)
    try:
        return str(conn.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        conn.close()


def say_figures(name: str, **figures: object) -> None:
    """Print the figures of a long run, and add them to the file that FAULTS_FIGURES names."""
    line = json.dumps({"run": name, **figures})
    print(line)
    if path := os.environ.get("FAULTS_FIGURES"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
