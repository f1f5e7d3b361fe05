"""The daemon as tests use it: started and stopped in the test's own loop, with producers on connections of their own."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from almirant_webhooks import clock
from almirant_webhooks.daemon import Daemon
from almirant_webhooks.model import Webhook
from almirant_webhooks.ops import keys
from almirant_webhooks.ops.keys import Keys, StoredKeys
from almirant_webhooks.ops.sealing import beside
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.settings.schema import Settings
from almirant_webhooks.storage.sql import deliveries, log, search, webhooks
from almirant_webhooks.storage.sqlite.connection import open_database, open_reader, transaction

from .fresh import make_database
from .shell import Shell

T = TypeVar("T")
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtbG9uZyE="


class MadeKeys(StoredKeys):
    """The keys of a database that keeps a digest of the token: the test knows it from when it was made."""

    token = ""


class Service:
    """A database, its outbox and, once started, its daemon."""

    def __init__(self, database: Path, outbox: Path | None = None) -> None:
        self.database = database
        self.outbox = outbox
        self.options: dict[str, dict[str, Any]] = {"egress": {"allow_localhost": True}, "admin": {"listen": ""}}
        self.daemon: Daemon | None = None

    @property
    def outbox_file(self) -> Path:
        return self.outbox or self.database

    def make_application(self, journal_mode: str) -> None:
        """Make an application's own database, which the outbox's tables will be put into."""
        assert self.outbox is not None
        conn = sqlite3.connect(self.outbox)
        conn.execute(f"PRAGMA journal_mode={journal_mode}")
        conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        conn.execute("PRAGMA user_version=77")
        conn.commit()
        conn.close()

    def values(self) -> dict[str, dict[str, Any]]:
        """Return the configuration."""
        outbox = {"path": str(self.outbox or ""), **self.options.get("outbox", {})}
        return {"database": {"path": str(self.database)}, **self.options, "outbox": outbox}

    def settings(self) -> Settings:
        return Settings.model_validate(self.values())

    @property
    def key(self) -> Path:
        """The key file of what is sealed."""
        return beside(self.database).path

    def shell(self, folder: Path | None = None) -> Shell:
        """Return a folder with a configuration of this database, for commands; the database's own folder by default."""
        return Shell(folder or self.database.parent, self.database)

    def keys(self) -> Keys | MadeKeys:
        """Return the operator's token, and the key that signs links and sessions."""
        return Keys(self.settings())

    async def rotate_token(self) -> None:
        """Make another token and key; return once the daemon knows them."""
        keys.rotate(self.database)

    def migrate(self) -> None:
        make_database(self.database, self.outbox)

    async def start(self, *, migrating: bool = True) -> Daemon:
        if migrating:
            self.migrate()
        self.daemon = Daemon(self.settings())
        await self.daemon.start()
        return self.daemon

    async def until_upkeep_rests(self) -> None:
        """Wait until what a start begins with is over: an upkeep's write would wait for a lock that a test holds, and all behind it."""
        assert self.daemon is not None
        daemon, observed = self.daemon, "almirant_webhooks_observed_timestamp_seconds"
        await self.until(lambda: daemon.pruner.is_resting and daemon.metrics.registry.get_sample_value(observed))

    async def serve(self) -> str:
        """Start it with its pages and API on a free port; return their address."""
        self.options["admin"] = {**self.options["admin"], "listen": "127.0.0.1:0"}
        daemon = await self.start()
        assert daemon.address is not None
        return f"http://127.0.0.1:{daemon.address[1]}"

    async def stop(self) -> None:
        assert self.daemon is not None
        daemon, self.daemon = self.daemon, None
        await daemon.stop()

    async def close(self) -> None:
        if self.daemon is not None:
            await self.stop()

    def session(self) -> Any:
        """Open another session, which whoever asks closes."""
        return open_database(self.database)

    def write(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function in a transaction, as a command does."""
        conn = open_database(self.database)
        try:
            with transaction(conn):
                return function(conn, *args, **kwargs)
        finally:
            conn.close()

    def read(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function on a read-only connection."""
        conn = open_reader(self.database)
        try:
            return function(conn, *args, **kwargs)
        finally:
            conn.close()

    def execute(self, statement: str, *values: object) -> list[Any]:
        """Run a statement as anybody may who can write to the database; return its rows."""

        def run(conn: Any) -> list[Any]:
            cursor = conn.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

        return self.write(run)

    def dump(self) -> str:
        """Return all that is in the tables."""
        with closing(sqlite3.connect(self.database)) as conn, conn:
            return "".join(conn.iterdump())

    def webhook(self, url: str, *events: str, project: str = "proj_1", secret: str = SECRET, **options: Any) -> Webhook:
        """Create a webhook; `options` are those of `model.Options`."""
        return self.write(
            webhooks.create,
            project_id=project,
            url=url,
            events=events or ("*",),
            secret=secret,
            description="",
            options=options,
            limit=100,
            now=clock.now(),
        )

    def producer(self) -> Any:
        """Open the outbox as any program would. What is returned is used as a connection of `sqlite3`."""
        return sqlite3.connect(self.outbox_file, timeout=10)

    def producer_without_rules(self) -> Any:
        """Open it so that payloads may be what they must not."""
        conn = self.producer()
        conn.execute("PRAGMA ignore_check_constraints=ON")
        return conn

    def ask(self, question: str) -> Any:
        """Return the first row that a SELECT on the outbox's file gives."""
        conn = self.producer()
        try:
            return conn.execute(question).fetchone()
        finally:
            conn.close()

    def insert(self, *payloads: object, project: str = "proj_1", kind: str = "work_item.created") -> list[str]:
        """Insert events as a producer does; return their ids."""
        conn = self.producer()
        try:
            with conn:
                return [
                    conn.execute(
                        "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, ?, ?) RETURNING event_id",
                        (project, kind, payload if isinstance(payload, str) else json.dumps(payload)),
                    ).fetchone()[0]
                    for payload in payloads or ({"workItem": {"id": "wi_1"}},)
                ]
        finally:
            conn.close()

    def insert_broken(self, *kinds: tuple[str, str]) -> None:
        """Insert rows that a producer is refused: each of a project and an event type."""
        broken = (
            "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, ?, CAST(x'7b2261223a22ff227d' AS TEXT))"
        )
        with closing(self.producer()) as conn, conn:
            conn.executemany(broken, kinds)

    def log(self, *, limit: int = 50, **fields: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.read(search.newest, Selection(**fields), limit=limit)]

    def detail(self, delivery_id: str) -> dict[str, Any]:
        return dict(self.read(log.delivery, delivery_id))

    def resend(self, delivery_id: str) -> bool:
        return self.write(deliveries.request_resend, delivery_id, clock.now())

    async def between_batches(self, ask: Callable[[], T]) -> T:
        """Ask in the delivery thread: what it holds in memory has then followed each commit that the files show."""
        assert self.daemon is not None
        return await self.daemon.loop.worker.run(lambda _: ask())

    async def until_deliveries_rest(self) -> None:
        """Wait until the delivery thread rests: nothing is in flight, no row is to be read, and its first poll is over."""
        assert self.daemon is not None
        loop = self.daemon.loop
        for _ in range(3):  # a step that did something is followed by one that polls, and that by one that reads
            await self.between_batches(lambda: None)
        async with asyncio.timeout(60):
            while await self.between_batches(lambda: loop.reader.may_have_rows or bool(loop.scheduler.in_flight)):
                await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[], object], within: float = 60) -> None:
        """Wait until a condition of the files holds: it is asked again whenever there may be news."""
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.005)
