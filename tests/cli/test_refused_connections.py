"""A PostgreSQL that does not let us in: each command ends with one sentence, which says where, why and what mends it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.storage.postgres.database_tables import migrate_database
from almirant_webhooks.storage.postgres.tables import migrate

from ..support.fresh import make_database
from ..support.ports import free_port
from ..support.postgres import FAST, Outbox, Server
from ..support.shell import Shell
from .test_doctor import findings

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]

SECRET = "hush%2Fhush"  # as the URL has it
HBA = """
local all guarded scram-sha-256
local all peer peer
local all kept_out reject
hostssl all all 127.0.0.1/32 trust
local all all trust
"""
ROLES = ("guarded", "peer", "kept_out", "limited", "stranger", "outsider", "daemon", "halved")
SEND = ("event", "send", "--project", "p", "--type", "lead.created", "--data", "{}")


class Refusal(NamedTuple):
    """A URL's role and what differs from the others, what the server says, and what mends it."""

    role: str
    words: str
    mended_by: str
    code: int = 1
    password: str = ""
    database: str = "hooks"
    query: str = ""
    on_network: bool = False


PASSWORD = "Mend the password of the role, in the URL, the password file or the service file."
RIGHT = "docs/postgresql-server.md (Roles)"
CASES = {
    "a wrong password": Refusal("guarded", "password authentication failed", PASSWORD, password=SECRET),
    "no password": Refusal("guarded", "no password supplied", PASSWORD),
    "another user of the system": Refusal("peer", "Peer authentication failed", "name a host and a password"),
    "no such role": Refusal("nobody", 'role "nobody" does not exist', "Make what is missing", password=SECRET),
    "no such database": Refusal("daemon", 'database "none" does not exist', "Make what is missing", database="none"),
    "kept out": Refusal("kept_out", "pg_hba.conf rejects", "Have its pg_hba.conf let the role in", password=SECRET),
    "TLS is asked for": Refusal("daemon", "no pg_hba.conf entry", "name an sslmode", query="sslmode=disable", on_network=True),
    "no TLS": Refusal("daemon", "does not support SSL", "See sslmode", query="sslmode=require", on_network=True),
    "no CONNECT": Refusal("outsider", "does not have CONNECT", "GRANT CONNECT ON DATABASE", password=SECRET),
    "too many connections": Refusal("limited", 'too many connections for role "limited"', "the limit of the role"),
    "no such option": Refusal("daemon", 'invalid URI query parameter: "nosuch"', "is not right", 78, SECRET, query="nosuch=1"),
    "no such service": Refusal("daemon", 'definition of service "nosuch"', "is not right", 78, query="service=nosuch"),
    "no tables": Refusal("daemon", "no tables", "`almirant-webhooks migrate`", 78, database="empty"),
    "no USAGE": Refusal("stranger", "permission denied for schema", RIGHT, 78, SECRET),
    "no right on a table": Refusal("halved", "permission denied for table", RIGHT, 78, SECRET),
}  # fmt: skip


class There:
    """A server with these roles, a database of ours in `hooks`, and an outbox alone in `shop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.key.write_text(sealed_texts.new_line())
        self.key.chmod(0o600)
        self.port = free_port()
        self.server = Server(f"{FAST} -c listen_addresses=127.0.0.1", port=self.port)
        for name in ("hooks", "shop", "empty"):
            self.ask("postgres", f"CREATE DATABASE {name}")
        migrate_database(Outbox(self.server, "hooks").place, Seals(self.key, is_own=False))
        with Outbox(self.server, "shop").session() as session:
            migrate(session)
        for role in ROLES:
            self.ask("postgres", f"CREATE ROLE {role} LOGIN PASSWORD 'another'")
        self.ask("postgres", "ALTER ROLE limited CONNECTION LIMIT 0")
        for name, table in (("hooks", "deliveries"), ("shop", "outbox")):
            self.ask(name, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
            for role in ROLES:
                if role != "outsider":
                    self.ask(name, f"GRANT CONNECT ON DATABASE {name} TO {role}")
                if role not in ("outsider", "stranger"):
                    self.ask(name, f"GRANT USAGE ON SCHEMA almirant_webhooks TO {role}")
                    self.ask(name, f"GRANT ALL ON ALL TABLES IN SCHEMA almirant_webhooks TO {role}")
            self.ask(name, f"REVOKE ALL ON almirant_webhooks.{table} FROM halved")
        (self.server.folder / "data" / "pg_hba.conf").write_text(HBA)
        self.ask("postgres", "SELECT pg_reload_conf()")

    def ask(self, database: str, statement: str) -> None:
        with self.server.connect(database, autocommit=True) as conn:
            conn.execute(statement.encode())

    def url(self, case: Refusal, database: str) -> str:
        """The URL of a case, in this database unless it has one of its own."""
        user = f"{case.role}:{case.password}" if case.password else case.role
        database = database if case.database == "hooks" else case.database
        if case.on_network:
            return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?{case.query}"
        url = self.server.url(database, user)
        return f"{url}&{case.query}" if case.query else url


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    made = There(tmp_path_factory.mktemp("there"))
    yield made
    made.server.remove()


def check(said: str, case: Refusal) -> None:
    """Hold what a command says to one sentence, without the password."""
    assert case.words in said
    assert case.mended_by in said
    assert "hush" not in said
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    assert f"postgresql://{case.role}" in line


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_command_says_why_the_database_is_not_there(tmp_path: Path, there: There, case: Refusal) -> None:
    """With the code that the contract has for it."""
    make_database(tmp_path / "old.db", None)
    shell = Shell(tmp_path)
    url, key = json.dumps(there.url(case, "hooks")), json.dumps(str(there.key))
    shell.config.write_text(f'[database]\nurl = {url}\n[secrets]\nkey_file = {key}\n[admin]\nlisten = ""\n')
    commands = [("serve",), ("webhook", "list"), ("stats",)]
    if case.role != "halved":  # who may send an event all the same, has nothing to migrate, and could begin a move
        commands += [SEND, ("migrate",), ("migrate", "--from", str(tmp_path / "old.db"))]
    for command in commands:
        if case.database != "empty" or command[0] != "migrate":
            check(shell.ours(*command, code=case.code), case)
    shell.ours("check-config")
    found = findings(shell, 1)
    assert any(case.words in words and case.mended_by in words for _, words in found.values())
    assert "hush" not in str(found)


@pytest.mark.parametrize("key", ["database", "outbox"])
def test_check_config_says_that_it_asked_no_server(tmp_path: Path, key: str) -> None:
    """It is right as far as that can be told."""
    (tmp_path / "c.toml").write_text(f'[{key}]\nurl = "postgresql://localhost:1/none"\n[secrets]\nseal = false\n')
    program = Path(sys.executable).with_name("almirant-webhooks")
    command = [str(program), "check-config", "--config", "c.toml"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    assert said == "The configuration is right. PostgreSQL was not asked: `almirant-webhooks doctor` does that.\n"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_command_says_why_the_outbox_is_not_there(tmp_path: Path, there: There, case: Refusal) -> None:
    """What the database has is read all the same, and `stats` tells what it could not look at."""
    shell = Shell(tmp_path)
    shell.config.write_text(shell.config.read_text() + f"[outbox]\nurl = {json.dumps(there.url(case, 'shop'))}\n")
    make_database(tmp_path / "log.db", None)
    check(shell.ours(*SEND, code=case.code), case)
    if case.database != "empty" and case.role != "halved":
        check(shell.ours("migrate", code=case.code), case)
    found = findings(shell, 1)
    assert any(case.words in words for _, words in found.values())
    assert "hush" not in str(found)
    shell.ours("webhook", "list")
    assert "hush" not in shell.ours("stats")
