"""The daemon as an operator runs it, a process of its own, and what is read of it while it runs and afterwards."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almirant_webhooks import clock, verify
from almirant_webhooks.model import Options
from almirant_webhooks.storage.sql import log, webhooks
from almirant_webhooks.storage.sql.session import Session
from almirant_webhooks.storage.sqlite.connection import open_database, transaction
from almirant_webhooks.storage.sqlite.migrate import migrate

from .nginx import free_port
from .release import Release, in_its_release

SECRET = "s" * 20
LOOKED_AT = 500  # attempts whose headers are put together as the log shows them
PAYLOAD = '{"workItem": {"id": "wi_1", "title": "' + "x" * 930 + '"}}'


def create_webhooks(conn: Session, url: str, count: int, projects: int, project: str) -> list[str]:
    """Create webhooks in turn over the projects; return their ids."""
    return [
        webhooks.create(
            conn,
            project_id=f"{project}_{number % projects}",
            url=f"{url}/{project}/{number}",
            events=["*"],
            secret=SECRET,
            description="",
            limit=count,
            now=clock.now(),
        ).id
        for number in range(count)
    ]


@dataclass
class Bench:
    """A folder with a database, its outbox in that file or one of its own, and the daemon of a release on it (None: this tree's)."""

    folder: Path
    options: str = ""
    release: Release | None = None
    own_outbox: bool = False

    def __post_init__(self) -> None:
        self.database = self.folder / "hooks.db"
        self.outbox = self.folder / "outbox.db" if self.own_outbox else self.database
        self.port = free_port()
        if self.release is None:
            migrate(self.database, self.outbox if self.own_outbox else None)
        else:
            migrating: list[str | Path] = [self.release.program, "migrate", "--config", self.configure()]
            made = subprocess.run(migrating, stderr=subprocess.PIPE, text=True)
            if made.returncode:
                raise SystemExit(f"{self.release.name} could not make its database: {made.stderr}")

    def configure(self) -> Path:
        """Write the configuration; return its file."""
        config = self.folder / "config.toml"
        own_outbox = f'outbox.path = "{self.outbox}"\n' if self.own_outbox else ""
        config.write_text(
            f'database.path = "{self.database}"\nadmin.listen = "127.0.0.1:{self.port}"\n'
            f"egress.allow_localhost = true\n{own_outbox}{self.options}\n"
        )
        return config

    @property
    def inserted_into(self) -> str:
        """Where producers insert: a file, or a URL of PostgreSQL."""
        return str(self.outbox)

    def tell(self, webhook_ids: list[str], options: Options) -> None:
        """Give webhooks options, which other releases may not have."""
        conn = open_database(self.database)
        with transaction(conn):
            for webhook_id in webhook_ids:
                webhooks.update(conn, webhook_id, options=options, now=clock.now())
        conn.close()

    @in_its_release
    def add_webhooks(self, url: str, count: int, *, projects: int | None = None, project: str = "proj") -> list[str]:
        """Create webhooks, each in a project of its own unless `projects` says how many there are."""
        conn = open_database(self.database)
        with transaction(conn):
            made = create_webhooks(conn, url, count, projects or count, project)
        conn.close()
        return made

    def limit(self, rate_limit: str, project: str | None = None) -> None:
        """Give the webhooks of a project, or all, a rate limit."""
        conn = open_database(self.database)
        with transaction(conn):
            conn.execute(
                "UPDATE webhooks SET rate_limit = ?1 WHERE project_id = ?2 OR ?2 IS NULL", (rate_limit, project)
            )
        conn.close()

    def insert(self, count: int, *, projects: int, project: str = "proj") -> None:
        """Insert events of 1 KB, in turn over the projects, as a producer does."""
        conn = sqlite3.connect(self.outbox, timeout=30)
        with conn:
            conn.executemany(
                "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'work_item.created', ?)",
                ((f"{project}_{number % projects}", PAYLOAD) for number in range(count)),
            )
        conn.close()

    @contextmanager
    def running(self, *, bracketed: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """Run `almirant-webhooks serve`, perhaps with its parts counted to `spent.json`; yields once it is ready."""
        config = self.configure()
        program = [self.release.program if self.release else Path(sys.executable).with_name("almirant-webhooks")]
        command = [sys.executable, "-m", "tests.bench.bracketed"] if bracketed else program
        environment = {"BENCH_SPENT": str(self.folder / "spent.json")} | {
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        }
        with (self.folder / "daemon.log").open("wb") as log:
            process = subprocess.Popen([*command, "serve", "--config", config], env=environment, stderr=log)
        try:
            self._wait_until_ready(process)
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"The daemon ended: {(self.folder / 'daemon.log').read_text()[-2000:]}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return
            except OSError:
                time.sleep(0.02)

    def read(self, query: str, *values: object) -> tuple[Any, ...]:
        """Return the first row of a query."""
        conn = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return tuple(conn.execute(query, values).fetchone())
        finally:
            conn.close()

    def wait_until(self, query: str, *values: object, within: float = 900) -> None:
        """Wait until the first column of a query is true."""
        deadline = time.monotonic() + within
        while not self.read(query, *values)[0]:
            if time.monotonic() > deadline:
                raise SystemExit(f"Not within {within} s: {query}")
            time.sleep(0.2)

    def counted(self, name: str) -> float:
        """Return what the daemon's metrics say of one of them; that costs it less than a query over the log."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as page:
            lines = page.read().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"almirant_webhooks_{name} "))

    def wait_for(self, count: int, within: float = 900) -> None:
        """Wait until so many attempts of this start of the daemon have succeeded."""
        deadline = time.monotonic() + within
        while (found := self.counted('attempts_total{outcome="success"}')) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"Only {found:,.0f} of {count:,} attempts within {within:.0f} s.")
            time.sleep(0.1)


@contextmanager
def scratch(options: str = "", *, release: Release | None = None, own_outbox: bool = False) -> Iterator[Bench]:
    """Make a bench in a folder of its own, and remove it afterwards; TMPDIR says on which disk."""
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder), options, release, own_outbox)


# The ids of deliveries that are made later are greater.
_WHOLE = """
SELECT count(*), sum(outcome = 'success' AND status_code = 200 AND duration_ms IS NOT NULL
    AND length(json_extract(request_headers, '$[1]')) = 47 AND length(json_extract(request_headers, '$[2]')) = 64
    AND json_array_length(response_headers) >= 3 AND response_body = ?),
    (julianday(max(started_at)) - julianday(min(started_at))) * 86400.0
FROM attempts WHERE delivery_id > ?
"""


@in_its_release
def check_rows(bench: Bench, least: int, after: str = "") -> float:
    """Return the attempts per second; refuse a run whose log is not whole: headers, body, status, duration of each."""
    count, whole, seconds = bench.read(_WHOLE, b"thanks\n", after)
    if whole != count or count < least:
        raise SystemExit(f"{whole} of {count} attempts are recorded as a whole, for {least}: this run does not count.")
    _check_headers(bench)
    return float(count / seconds)


def _check_headers(bench: Bench) -> None:
    conn = open_database(bench.database)
    for row in conn.execute("SELECT delivery_id FROM attempts ORDER BY rowid DESC LIMIT ?", (LOOKED_AT,)).fetchall():
        found = log.delivery(conn, row[0])
        sent = dict(found["attempt_list"][-1]["request_headers"])
        if len(sent) < 14 or not verify.verify_almirant(
            str(found["body"]).encode(), sent["X-Almirant-Signature"], SECRET
        ):
            raise SystemExit(f"The headers of {row[0]} are not those that were sent: this run does not count.")
    conn.close()


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    """Return the resident memory of a process in MB; `VmHWM` is the most that it has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
