"""A real PostgreSQL server for tests: one for the process, private, with a new database for each test."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url
from almirant_webhooks.storage.postgres.connection import Session, connect
from almirant_webhooks.storage.postgres.database_tables import migrate_database
from almirant_webhooks.storage.postgres.tables import migrate

from . import needs

NOBODY = 65534  # PostgreSQL refuses to run as root
ICU_LOCALE = os.environ.get("POSTGRES_ICU_LOCALE", "")  # the collation of databases that say nothing else
# Without punctuation, numbers by their value, small letters first: as far from the order of the bytes as it can be.
ANOTHER = "es-u-ka-shifted-kf-lower-kn"
ROOT = os.environ.get("POSTGRES_ROOT")  # the root of another Debian, whose server is run instead of this one's
FAST = "-c fsync=off -c full_page_writes=off -c max_connections=60 -c shared_buffers=16MB -c autovacuum=off"
FIXTURES = Path(__file__).parents[1] / "fixtures"
_numbers = itertools.count(1)


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; the test is skipped without them."""
    folders = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found and ROOT is None]
    installed = Path(ROOT or "/", "usr/lib/postgresql").glob("*/bin")
    folders += sorted(installed, key=lambda path: float(path.parent.name), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists():
            return folder
    pytest.skip("initdb is not installed (PostgreSQL)")


class Server:
    """A server with its data in a temporary folder, reached by a socket there. `options` are those of `postgres`.

    Its data are new, or a copy of another server's, whose standby it is. Its databases sort by the bytes, or as ICU does it.
    """

    def __init__(
        self, options: str = FAST, *, port: int = 5432, standby_of: Server | None = None, icu_locale: str = ICU_LOCALE
    ) -> None:
        needs.more_than_python("PostgreSQL")
        self.programs = programs()
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="almw-pg-", dir=ROOT and f"{ROOT}/tmp"))
        self._data = self.named(self.folder / "data")
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self._user = NOBODY if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, self._user, self._user)
        data = ["-D", self._data, "-U", "postgres", "--no-sync"]
        if standby_of is None:
            icu = ["--locale-provider=icu", f"--icu-locale={icu_locale}"] if icu_locale else []
            self.call("initdb", *data, "-A", "trust", "-E", "UTF8", "--no-locale", *icu)
        else:
            self.call("pg_basebackup", *data, "-h", self.named(standby_of.folder), "-R", "-c", "fast")
        self.start()

    def call(self, name: str, *words: str) -> str:
        """Run one of PostgreSQL's programs as the server's user; return what it printed."""
        done = self._run(name, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dump(self, database: str) -> str:
        """Return what `pg_dump` writes of a database."""
        return self.call("pg_dump", "-h", self.named(self.folder), "-p", str(self.port), "-U", "postgres", database)

    def promote(self) -> None:
        """Let a standby take over; return once it takes writes."""
        self.call("pg_ctl", "promote", "-D", self._data, "-w")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file that the server alone can read; return its path."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)
        if self._user is not None:
            os.chown(path, self._user, self._user)
        return path

    def named(self, path: Path) -> str:
        """Return a path as the server sees it."""
        return str(path) if ROOT is None else f"/{path.relative_to(ROOT)}"

    def _words(self, name: str, *words: str) -> list[str]:
        """Return what runs a program as the server's user."""
        program = self.named(self.programs / name)
        return (
            [program, *words] if ROOT is None else ["chroot", f"--userspec=+{NOBODY}:+{NOBODY}", ROOT, program, *words]
        )

    def _run(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._words(name, *words),
            user=self._user if ROOT is None else None,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        folder = self.named(self.folder)
        options = f"-k {folder} -p {self.port} -c listen_addresses= {self._options}"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._words("postgres", "-D", self._data, *options.split()), user=self._user if ROOT is None else None,
                cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        while self._run("pg_isready", "-h", folder, "-p", str(self.port), "-q").returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: by SIGINT it ends all connections first."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def has_ended(self) -> bool:
        """Tell whether it has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = "postgres") -> str:
        port = "" if self.port == 5432 else f"&port={self.port}"
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}{port}"

    def connect(self, database: str = "postgres", user: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Connect as any program would; what it does is committed with its `with`, or at once."""
        return psycopg.connect(self.url(database, user), **options)


@functools.cache
def server(icu_locale: str) -> Server:
    """The server of this process with this collation, which ends with it."""
    made = Server(icu_locale=icu_locale)
    atexit.register(made.remove)
    with made.connect(autocommit=True) as conn:
        conn.execute("CREATE DATABASE outbox_template")
    session = connect(Outbox(made, "outbox_template").place)
    migrate(session)
    session.close()
    return made


class Outbox:
    """A database of a server, with the outbox in the schema `almirant_webhooks` or without it."""

    def __init__(self, its_server: Server, database: str) -> None:
        self.server = its_server
        self.database = database
        self.url = its_server.url(database)
        url = parse_postgres_url(self.url)
        assert url is not None
        self.place = Place(url, "almirant_webhooks")

    def connect(self, user: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Connect as a producer; `search_path` finds the outbox."""
        conn = self.server.connect(self.database, user, **options)
        conn.execute("SET search_path = almirant_webhooks, public")
        conn.commit()
        return conn

    def ask(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, which is committed."""
        with self.connect() as conn:
            cursor = conn.execute(query, params or None)
            return cursor.fetchall() if cursor.description is not None else []

    def copy(self) -> Outbox:
        """Make another database with the same content; nobody may be connected to this one."""
        return _made(self.server, f" TEMPLATE {self.database}")

    def drop(self) -> None:
        """Remove the database, whoever is connected."""
        with self.server.connect(autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {self.database} WITH (FORCE)")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session of ours."""
        session = connect(self.place)
        try:
            yield session
        finally:
            session.close()


@functools.cache
def _with_tables(icu_locale: str) -> str:
    """The name of a database that has our tables, and nothing sealed."""
    there = new_database(with_outbox=False, its_server=server(icu_locale))
    with tempfile.TemporaryDirectory() as folder:
        migrate_database(there.place, Seals(Path(folder) / "key", is_on=False))
    there.ask("DELETE FROM operator_keys")  # so that each test's are sealed with its own key
    return there.database


def new_tables(icu_locale: str = ICU_LOCALE) -> Outbox:
    """Make a database with our tables for a test."""
    return _made(server(icu_locale), f" TEMPLATE {_with_tables(icu_locale)}")


def new_database(*, with_outbox: bool = True, its_server: Server | None = None) -> Outbox:
    """Make a database of its own for a test; one of another server begins without the outbox."""
    return _made(its_server or server(ICU_LOCALE), " TEMPLATE outbox_template" if with_outbox else "")


def make_older(there: Outbox) -> Outbox:
    """Put an outbox of the first schema in the place of what is there."""
    with there.connect() as conn:
        conn.execute("DROP SCHEMA IF EXISTS almirant_webhooks CASCADE")
        conn.execute("CREATE SCHEMA almirant_webhooks")
        conn.execute((FIXTURES / "outbox-postgres-1.sql").read_bytes())
    return there


def _made(there: Server, template: str) -> Outbox:
    needs.more_than_python("PostgreSQL")
    name = f"test_{next(_numbers)}"
    with there.connect(autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}{template}")
    return Outbox(there, name)
