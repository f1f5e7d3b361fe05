"""The daemon with its outbox in PostgreSQL, as tests use it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from almirant_webhooks.daemon import Daemon
from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.storage.postgres import operator_keys
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, open_database, writing
from almirant_webhooks.storage.postgres.database_tables import migrate_database
from almirant_webhooks.storage.postgres.dialect import spell
from almirant_webhooks.storage.postgres.tables import migrate

from .postgres import Outbox, new_tables
from .service import MadeKeys, Service
from .shell import Shell

T = TypeVar("T")

INSERT = """
INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'work_item.created', %s) RETURNING event_id
"""
_INSERT_OF = "INSERT INTO outbox (project_id, event_type, payload) VALUES (%s, %s, %s) RETURNING event_id"


class PostgresService(Service):
    """A database in a file, and an outbox in a database of a real server."""

    def __init__(self, database: Path, there: Outbox) -> None:
        super().__init__(database)
        self.there = there
        self.url = there.url  # by which the daemon connects

    @classmethod
    def within(cls, folder: Path, there: Outbox) -> PostgresService:
        """Make one whose files are in a folder."""
        return cls(folder / "hooks.db", there)

    def values(self) -> dict[str, dict[str, Any]]:
        outbox = {"url": self.url, **self.options.get("outbox", {})}
        return {"database": {"path": str(self.database)}, **self.options, "outbox": outbox}

    def shell(self, folder: Path | None = None) -> Shell:
        return shell_of(folder or self.database.parent, self.there)

    def migrate(self) -> None:
        super().migrate()
        with self.there.session() as session:
            migrate(session)

    def running(self) -> list[Daemon]:
        """The daemons of this process."""
        return [self.daemon] if self.daemon is not None else []

    def is_well(self) -> bool:
        """Tell whether `/readyz` of each says that it is."""
        return all(daemon.not_ready() is None for daemon in self.running())

    def ask(self, question: str) -> Any:
        """Return the first row that a SELECT in the outbox's database gives."""
        rows = self.there.ask(question)
        return rows[0] if rows else None

    def commit(self, payload: str = "{}") -> str:
        """Commit an event as a producer does; return its id."""
        return str(self.there.ask(INSERT, payload)[0][0])

    def insert(self, *payloads: object, project: str = "proj_1", kind: str = "work_item.created") -> list[str]:
        """Insert events as a producer does; return their ids."""
        texts = [payload if isinstance(payload, str) else json.dumps(payload) for payload in payloads or ({},)]
        with (
            self.there.connect() as conn
        ):  # one for all: each costs some milliseconds, in which the daemon's loop stands still
            rows = [conn.execute(_INSERT_OF, (project, kind, text)).fetchone() or ("",) for text in texts]
        return [str(event_id) for (event_id,) in rows]

    def states(self) -> list[tuple[str, int]]:
        """The state and the number of attempts of each delivery."""
        return [(row["state"], row["attempts"]) for row in self.log()]

    def is_marked(self) -> bool:
        """Whether the daemon has answered every row."""
        return not self.there.ask("SELECT FROM outbox WHERE fanned_out_at IS NULL AND rejected_reason IS NULL")


class EverythingInPostgres(PostgresService):
    """The database too is there. Several of them on one place are several daemons."""

    def __init__(self, folder: Path, there: Outbox) -> None:
        super().__init__(folder / "no-such.db", there)
        self._ours: Outbox | None = None  # where our tables are, if not with the outbox
        self._key = folder / "seal.key"
        if not self.key.exists():
            self.key.write_text(sealed_texts.new_line())
            self.key.chmod(0o600)
        self.seals = Seals(self.key, is_own=False)
        self._token = ""
        self._reader: DatabaseSession | None = None  # so that `until` need not connect each time
        self._is_reading = threading.Lock()

    @classmethod
    def within(cls, folder: Path, there: Outbox) -> EverythingInPostgres:
        return cls(folder, there)

    @property
    def key(self) -> Path:
        return self._key

    @property
    def ours(self) -> Outbox:
        """Where our tables are."""
        return self._ours or self.there

    @ours.setter
    def ours(self, there: Outbox) -> None:
        self._ours = there

    def places(self) -> dict[str, dict[str, Any]]:
        """Where in PostgreSQL everything is, as the configuration says it."""
        return {"database": {"url": self.url}, "secrets": {"key_file": str(self.key)}}

    def values(self) -> dict[str, dict[str, Any]]:
        places = self.places()
        given = {section: {**values, **self.options.get(section, {})} for section, values in places.items()}
        return {**self.options, **given}

    def migrate(self) -> None:
        for sentence in migrate_database(self.ours.place, self.seals):
            if "the operator's token made" in sentence:
                self._token = sentence.split()[-1]

    async def close(self) -> None:
        await super().close()
        self.let_go()

    def let_go(self) -> None:
        """Close the session of the test's own."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def session(self) -> DatabaseSession:
        return open_database(self.ours.place, self.seals)

    def write(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function in a transaction, as a command does."""
        with closing(self.session()) as session, writing(session):
            return function(session, *args, **kwargs)

    def read(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function on a session."""
        with self._is_reading:
            if self._reader is not None and self._reader.place is not self.ours.place:
                self._reader.close()
                self._reader = None
            if self._reader is None:
                self._reader = self.session()
            return function(self._reader, *args, **kwargs)

    def shell(self, folder: Path | None = None) -> Shell:
        return shell_of_all(self, folder or self.database.parent)

    def keys(self) -> MadeKeys:
        configured = self.settings().admin.token
        made = MadeKeys(configured)
        made.token = configured or self._token
        made.learn(*self.read(operator_keys.read))
        return made

    async def rotate_token(self) -> None:
        self._token = self.write(operator_keys.rotate)
        if self.daemon is not None and (known := self.daemon.storage.operator_keys) is not None:
            await self.until(lambda: known.is_token(self._token))

    def producer(self) -> Any:
        return _Producer(self.there.connect())

    def producer_without_rules(self) -> Any:
        self.there.ask("ALTER TABLE outbox DROP CONSTRAINT IF EXISTS outbox_payload")
        return self.producer()

    def insert_broken(self, *kinds: tuple[str, str]) -> None:
        with closing(self.producer_without_rules()) as conn, conn:
            conn.executemany("INSERT INTO outbox (project_id, event_type, payload) VALUES (?, ?, 'no object')", kinds)

    def dump(self) -> str:
        tables = self.ours.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'almirant_webhooks'")
        return str([self.ours.ask(f"SELECT t::text FROM {table} t") for (table,) in tables])

    def ask(self, question: str) -> Any:
        """Return the first row that a SELECT gives."""
        return self.read(lambda session: session.execute(question).fetchone())


class OutboxApart(EverythingInPostgres):
    """The database is in PostgreSQL, and the outbox is `there`, in another database of it."""

    def __init__(self, folder: Path, there: Outbox) -> None:
        super().__init__(folder, there)
        self.ours = new_tables()

    def places(self) -> dict[str, dict[str, Any]]:
        places = super().places()
        return {**places, "database": {"url": self.ours.url}, "outbox": {"url": self.url}}

    def migrate(self) -> None:
        super().migrate()
        with self.there.session() as session:
            migrate(session)

    def ask(self, question: str) -> Any:
        return PostgresService.ask(self, question)


Make = Callable[[Path, Outbox], PostgresService]
# What an outbox in an application's database is beside.
BESIDE: dict[str, Make] = {
    "beside a file": lambda folder, there: PostgresService(folder / "log.db", there),
    "beside PostgreSQL": OutboxApart,
}


class _Producer:
    """A connection to PostgreSQL that is used as one of `sqlite3`."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        self.commit, self.rollback, self.close = conn.commit, conn.rollback, conn.close

    def execute(self, statement: str, values: Any = (), /) -> psycopg.RawCursor[Any]:
        spelled = spell(statement)
        cursor = psycopg.RawCursor(self._conn)
        cursor.execute(spelled.text.encode(), spelled.values(values))
        return cursor

    def executemany(self, statement: str, rows: Any, /) -> None:
        spelled = spell(statement)
        psycopg.RawCursor(self._conn).executemany(spelled.text.encode(), [spelled.values(values) for values in rows])

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *_: object) -> None:
        (self.rollback if kind else self.commit)()


def shell_of(folder: Path, there: Outbox) -> Shell:
    """A configuration of such a daemon, for commands."""
    made = Shell(folder)
    made.config.write_text(made.config.read_text() + f'[outbox]\nurl = "{there.url}"\n')
    return made


def shell_of_all(service: EverythingInPostgres, folder: Path) -> Shell:
    """A configuration of a daemon that has everything there, for commands."""
    made = Shell(folder)
    places = "".join(f"[{section}]\n{_toml(values)}" for section, values in service.places().items())
    made.config.write_text(f'{places}[egress]\nallow_localhost = true\n[admin]\nlisten = ""\n')
    return made


def _toml(values: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
