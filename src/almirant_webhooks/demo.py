"""`almirant-webhooks demo`: the whole service on one machine, with real parts and no configuration."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiosqlite

from . import clock
from .daemon import Daemon
from .model import Refused
from .ops import logs
from .ops.keys import Keys
from .receiver import Receiver
from .rules import links
from .rules.event_types import CATALOGUE, sample_payload
from .rules.signing import generate_secret
from .settings.schema import Settings
from .storage.sql import search, webhooks
from .storage.sqlite.connection import open_database, open_reader, transaction
from .storage.sqlite.errors import session
from .storage.sqlite.migrate import migrate

PROJECT = "proj_demo"
SCHEDULE = ["0s", "1s", "2s", "3s", "5s"]
FAILURES = 2
# While somebody looks at the pages: a receiver that fails for a quarter of a minute, and recovers before their eyes.
SCHEDULE_TO_WATCH = ["0s", "3s", "5s", "8s", "15s"]
FAILURES_TO_WATCH = 3
LINK_LIVES = 24 * 3600  # seconds
LIMIT = 60.0  # seconds until the demo gives up

PrintTable = Callable[[Mapping[str, str], Sequence[Mapping[str, Any]]], None]  # headings by key, and rows

_COLUMNS = {
    "date": "DATE",
    "receiver": "RECEIVER",
    "event_type": "EVENT",
    "status": "STATUS",
    "duration_ms": "MS",
    "state": "STATE",
    "attempts": "ATTEMPTS",
}
_CONFIG = """[database]
path = {path}

[delivery]
retry_schedule = {schedule}

[egress]
allow_localhost = true

[admin]
listen = ""
"""


def run(*, once: bool, directory: str | None, print_table: PrintTable, opens: bool = False) -> int:
    """Run the demo; return the exit code: 0 when every event was delivered and verified.

    `once` ends it then; `opens` shows its pages in a browser, with a receiver that takes longer to recover.
    """
    folder = Path(directory or tempfile.mkdtemp(prefix="almirant-webhooks-demo-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "demo.db").exists():
        raise Refused(f"{folder} holds an earlier demo; name another directory.")
    logs.configure("error", "auto")
    return asyncio.run(_Demo(folder, print_table, opens=opens).run(once=once))


class _Demo:
    def __init__(self, folder: Path, print_table: PrintTable, *, opens: bool) -> None:
        self.folder = folder
        self.opens = opens
        self.schedule = SCHEDULE_TO_WATCH if opens else SCHEDULE
        self.failures = FAILURES_TO_WATCH if opens else FAILURES
        self._print_table = print_table
        self.database = folder / "demo.db"
        self.config = folder / "config.toml"
        self.receivers: dict[str, Receiver] = {}
        self.names: dict[str, str] = {}
        self.drawn = 0

    async def run(self, *, once: bool) -> int:
        self.settings = settings = Settings.model_validate(
            {
                "database": {"path": str(self.database)},
                "delivery": {"retry_schedule": self.schedule},
                "egress": {"allow_localhost": True},
                "admin": {"listen": "127.0.0.1:0"},
            }
        )
        shown = _CONFIG.format(path=json.dumps(str(self.database)), schedule=json.dumps(self.schedule))
        self.config.write_text(shown, encoding="utf-8")
        migrate(self.database, None)
        daemon = Daemon(settings)
        await daemon.start()
        try:
            await self._open_receivers()
            assert daemon.address is not None
            address = f"http://127.0.0.1:{daemon.address[1]}"
            self.link = self._portal_link(address)
            self._print_introduction(address)
            if self.opens and not await asyncio.to_thread(webbrowser.open, self.link):
                print("No browser could be opened here; open the address behind Pages yourself.\n", flush=True)
            await self._insert()
            succeeded = await self._watch()
            succeeded = self._print_summary() and succeeded
            self._print_next_steps(once=once)
            if not once:
                await self._serve_until_stopped()
        finally:
            await daemon.stop()
            for receiver in self.receivers.values():
                await receiver.stop()
        return 0 if succeeded else 1

    async def _open_receivers(self) -> None:
        for name, failures in (("steady", 0), ("flaky", self.failures)):
            receiver = Receiver(secret=generate_secret(), fail_first=failures)
            await receiver.start()
            self.receivers[name] = receiver
            with session(open_database(self.database)) as conn, transaction(conn):
                webhook = webhooks.create(
                    conn,
                    project_id=PROJECT,
                    url=receiver.url,
                    events=["*"] if name == "steady" else ["work_item.*"],
                    secret=str(receiver.secret),
                    description=f"the {name} receiver of the demo",
                    limit=len(self.receivers),
                    now=clock.now(),
                )
            self.names[webhook.id] = name

    def _print_introduction(self, address: str) -> None:
        steady, flaky = self.receivers["steady"], self.receivers["flaky"]
        print(f"Database   {self.database}")
        print(f"Daemon     development mode (it may dial this machine); {address}/healthz and {address}/metrics")
        print(f"Pages      {self.link}")
        print(f"Receiver   {steady.url}  steady: wants every event, verifies each signature")
        print(f"Receiver   {flaky.url}  flaky: wants work_item.*, fails {self.failures} times before it accepts")
        print(
            f"Schedule   {', '.join(self.schedule)} (shortened for the demo; the default is 0s, 1m, 5m, 30m, 2h)\n",
            flush=True,
        )

    def _portal_link(self, address: str) -> str:
        """Return the link by which the project's admin sees all this in a browser while the daemon runs."""
        link = links.PortalLink(PROJECT, int(clock.now().timestamp()) + LINK_LIVES, next="/deliveries")
        return links.url(Keys(self.settings).signing_key, link, address)

    async def _insert(self) -> None:
        """Insert one event of each type, as any producer in asyncio does: plain SQL on a connection of its own."""
        async with aiosqlite.connect(self.database, timeout=10) as conn:
            await conn.executemany(
                "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, ?, ?)",
                [(PROJECT, kind, json.dumps(sample_payload(kind), ensure_ascii=False)) for kind in CATALOGUE],
            )
            await conn.commit()

    def _rows(self) -> list[dict[str, Any]]:
        with session(open_reader(self.database)) as conn:
            rows = search.newest(conn, limit=1000)
        return [{**row, "receiver": self.names[row["webhook_id"]]} for row in reversed(rows)]

    async def _watch(self) -> bool:
        expected = len(CATALOGUE) + sum(kind.startswith("work_item.") for kind in CATALOGUE)
        with suppress(TimeoutError):
            async with asyncio.timeout(LIMIT):
                while True:
                    rows = self._rows()
                    if sys.stdout.isatty():
                        self._print_rows(rows)
                    if len(rows) == expected and all(row["state"] != "pending" for row in rows):
                        break
                    await asyncio.sleep(0.1)
        rows = self._rows()
        if not sys.stdout.isatty():
            self._print_rows(rows)
        return len(rows) == expected and all(row["state"] == "succeeded" for row in rows)

    def _print_rows(self, rows: list[dict[str, Any]]) -> None:
        if self.drawn:
            sys.stdout.write(f"\x1b[{self.drawn}A\x1b[J")
        self._print_table(_COLUMNS, rows)
        self.drawn = len(rows) + 1 if sys.stdout.isatty() else 0

    def _print_summary(self) -> bool:
        """Print what became of the events; tell whether every event came in and every signature was right."""
        rows = self._rows()
        events = len({row["event_id"] for row in rows})
        attempts = sum(row["attempts"] for row in rows)
        verified = sum(receiver.verified for receiver in self.receivers.values())
        delivered = sum(row["state"] == "succeeded" for row in rows)
        retried = sum(row["attempts"] > 1 for row in rows)
        complete = events == len(CATALOGUE) and verified == attempts and delivered == len(rows)
        print(f"\nEvents in            {events} of {len(CATALOGUE)}, one of each type")
        print(f"Deliveries           {len(rows)}, delivered {delivered}, of them retried {retried}")
        print(f"Attempts             {attempts} = {len(rows)} first ones + {attempts - len(rows)} retries")
        print(f"Signatures verified  {verified} of {attempts}, the customer's way and as Standard Webhooks")
        print("Everything was delivered." if complete else "Something was not delivered or not verified; see the log.")
        return complete

    def _print_next_steps(self, *, once: bool) -> None:
        """Print commands that work as they stand, with the command's own path where it was started by one."""
        command = sys.argv[0] if Path(sys.argv[0]).name == "almirant-webhooks" else "almirant-webhooks"
        rows = sorted(self._rows(), key=lambda row: int(row["attempts"]))
        more = [f"delivery show {rows[-1]['delivery_id']}"] if rows else []
        if not once:
            more.append(f"event send --project {PROJECT} --type lead.created --data '{{}}'")
        print("\nLook further:")
        for words in ("delivery list", "event list", "webhook list", *more):
            print(f"  {shlex.quote(command)} {words} --config {shlex.quote(str(self.config))}")
        print(f"  sqlite3 {shlex.quote(str(self.database))} 'SELECT * FROM attempt_log'")

    async def _serve_until_stopped(self) -> None:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        print("\nThe daemon goes on; insert more, or end it with Ctrl-C.", flush=True)
        await ended.wait()
