"""An application's outbox of an older schema is served, and `doctor` says what makes it faster: files of each earlier schema."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.delivery.outbox_reader import OutboxReader
from almirant_webhooks.ops.metrics import Metrics
from almirant_webhooks.storage.engine import ReadPlan
from almirant_webhooks.storage.sqlite import outbox
from almirant_webhooks.storage.sqlite.migrate import outbox_sql
from almirant_webhooks.storage.sqlite.outbox import open_outbox
from almirant_webhooks.storage.sqlite.outbox_stores import OutboxApart
from almirant_webhooks.storage.sqlite.unread import read_unread

from ..cli.test_doctor import findings
from ..support import needs
from ..support.service import Service
from ..support.shell import Shell

pytestmark = pytest.mark.sqlite

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = range(outbox.OLDEST_VERSION, outbox.SCHEMA_VERSION)
TABLES = "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'outbox%' ORDER BY name"
APPLICATION = "SELECT name, sql FROM sqlite_schema WHERE name IN ('orders', 'history', 'keep_history') ORDER BY name"
ROWS = {table: f"SELECT * FROM {table}" for table in ("outbox", "orders", "history")}


@pytest.fixture
def application(shell: Shell) -> Callable[[int], Path]:
    """Make an application's database with an outbox of an earlier schema, and have the configuration name it."""

    def make(version: int) -> Path:
        path = shell.folder / "shop.db"
        with closing(sqlite3.connect(path)) as conn:
            conn.executescript((FIXTURES / f"outbox-{version}.sql").read_text())
        shell.config.write_text(shell.config.read_text() + f"[outbox]\npath = {json.dumps(str(path))}\n")
        return path

    return make


def ask(path: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(question).fetchall()


def fill(path: Path, projects: list[str]) -> None:
    """Leave an event of each project in the outbox, of a whole second.

    The oldest schemas with a SQLite before 3.38 refuse the default time in one of a hundred milliseconds.
    """
    row = """
    INSERT INTO outbox (project_id, event_type, payload, occurred_at)
    VALUES (?, 'lead.created', '{}', strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now'))
    """
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("DELETE FROM outbox")
        conn.executemany(row, [(project,) for project in projects])


def printed_sql(shell: Shell) -> str:
    """The SQL that `doctor` prints for the outbox, from its JSON."""
    queries, _ = json.JSONDecoder().raw_decode(shell.ours("doctor", "--json", code=1))
    (sql,) = [finding["sql"] for finding in queries if finding["sql"]]
    return str(sql)


def plans(path: Path) -> list[str]:
    """How SQLite finds the rows that the daemon reads next, in the words of EXPLAIN QUERY PLAN."""
    statements: list[str] = []
    with closing(open_outbox(path, path)) as conn:
        conn.set_trace_callback(statements.append)
        assert read_unread(conn, ReadPlan(10))
        conn.set_trace_callback(None)
        choosing = [statement for statement in statements if "MATERIALIZED" in statement and "line" in statement]
        return [row[3] for statement in choosing for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")]


def run_in_python(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(sql)


def run_in_the_sqlite3_shell(path: Path, sql: str, *words: str, code: int = 0) -> None:
    command = [needs.program("sqlite3"), "-bail", *words, str(path)]
    ran = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stderr


def test_every_earlier_outbox_has_a_fixture() -> None:
    """Made with what `outbox-sql` of its release printed, and with a table and a trigger of an application."""
    assert {path.name for path in FIXTURES.glob("outbox-[0-9]*.sql")} == {
        f"outbox-{version}.sql" for version in VERSIONS
    }


@pytest.mark.parametrize("run", [run_in_python, pytest.param(run_in_the_sqlite3_shell, marks=pytest.mark.long)])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_sql_that_doctor_prints_brings_an_older_outbox_to_the_present_schema(
    version: int, run: Callable[[Path, str], None], application: Callable[[int], Path], shell: Shell
) -> None:
    """As it stands: the finding is gone, the daemon reads by index, and what the application has is as it was."""
    path = application(version)
    before = {name: ask(path, question) for name, question in {**ROWS, "schema": APPLICATION}.items()}
    result, words = findings(shell, 1)["outbox schema"]
    assert result == "warning"
    assert str(path) in words
    assert f"outbox schema {version}" in words
    assert f"outbox-sql --from {version}" in words
    run(path, printed_sql(shell))
    assert "outbox schema" not in findings(shell, 1)
    queries = plans(path)
    assert any("INDEX outbox_unread (project_id=?)" in line for line in queries), queries
    assert not [line for line in queries if line.startswith("SCAN outbox") and "outbox_unread" not in line]
    assert not [line for line in queries if "TEMP B-TREE" in line]
    assert {name: ask(path, question) for name, question in {**ROWS, "schema": APPLICATION}.items()} == before
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(outbox_sql())
        assert conn.execute(TABLES).fetchall() == ask(path, TABLES)


@pytest.mark.parametrize("version", VERSIONS)
def test_doctor_prints_the_sql_below_its_table(version: int, application: Callable[[int], Path], shell: Shell) -> None:
    """As text that can be copied; the file itself is left as it is."""
    path = application(version)
    before = path.read_bytes()
    printed = shell.ours("doctor", code=1)
    assert path.read_bytes() == before
    _, sql = printed.split("\n-- outbox schema\n")
    assert sql.startswith(printed_sql(shell))


@pytest.mark.parametrize("version", VERSIONS)
def test_outbox_sql_prints_the_same_for_a_migration_of_the_application(
    version: int, application: Callable[[int], Path], shell: Shell
) -> None:
    """Without a transaction of its own, which a migration has; nothing for the present schema, and no other is taken."""
    application(version)
    statements = shell.run("outbox-sql", "--from", str(version))
    assert printed_sql(shell) == f"BEGIN IMMEDIATE;\n\n{statements}\nCOMMIT;\n"
    assert shell.run("outbox-sql", "--from", str(outbox.SCHEMA_VERSION)) == ""
    shell.run("outbox-sql", "--from", str(outbox.SCHEMA_VERSION + 1), code=2)
    shell.run("outbox-sql", "--from", "0", code=2)


def test_migrate_silences_doctor_too(application: Callable[[int], Path], shell: Shell) -> None:
    """It is the other way that the finding names."""
    application(outbox.OLDEST_VERSION)
    assert "`almirant-webhooks migrate`" in findings(shell, 1)["outbox schema"][1]
    shell.ours("migrate")
    assert "outbox schema" not in findings(shell, 1)


@pytest.mark.long
def test_a_sqlite3_shell_that_may_not_change_a_table_s_text_changes_nothing(
    application: Callable[[int], Path], shell: Shell
) -> None:
    """In defensive mode; with `-bail` it ends before the commit, and without the mode it succeeds."""
    path = application(outbox.OLDEST_VERSION)
    before = ask(path, "SELECT * FROM sqlite_schema")
    sql = printed_sql(shell)
    run_in_the_sqlite3_shell(path, sql, "-cmd", ".dbconfig defensive on", code=1)
    assert ask(path, "SELECT * FROM sqlite_schema") == before
    assert ask(path, "SELECT schema_version FROM outbox_meta") == [(outbox.OLDEST_VERSION,)]
    run_in_the_sqlite3_shell(path, sql, "-cmd", ".dbconfig defensive off")
    assert ask(path, "SELECT schema_version FROM outbox_meta") == [(outbox.SCHEMA_VERSION,)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_running_daemon_reads_by_project_once_the_application_has_upgraded_its_outbox(
    version: int, application: Callable[[int], Path], shell: Shell
) -> None:
    """A project with very many rows is then in nobody's way, without a restart."""
    path = application(version)
    fill(path, ["loud"] * 1000 + ["quiet"])
    reader = OutboxReader(Metrics(), frozenset(), OutboxApart(path, lambda: open_outbox(shell.folder / "log.db", path)))
    reader.open()
    assert {row.project for row in reader.read(ReadPlan(4)) or ()} == {"loud"}
    run_in_python(path, printed_sql(shell))
    reader.check_for_commits(changed=False)
    assert {row.project for row in reader.read(ReadPlan(4)) or ()} == {"loud", "quiet"}
    reader.close()


def test_rows_of_an_older_outbox_wait_for_no_slot(application: Callable[[int], Path], shell: Shell) -> None:
    """Of the oldest rows of all, those of one project without a slot would hide the others for as long as they wait."""
    path = application(outbox.OLDEST_VERSION)
    fill(path, ["loud"] * 1000 + ["quiet"])
    reader = OutboxReader(Metrics(), frozenset(), OutboxApart(path, lambda: open_outbox(shell.folder / "log.db", path)))
    reader.open()
    plan = reader.plan_read(100, 10, 100.0, anyway=False, slots={"loud": 0, "quiet": 8}.get)
    assert plan is not None
    assert [row.project for row in reader.read(plan) or ()] == ["loud"] * 10
    reader.close()


async def test_the_daemon_serves_an_application_s_outbox_of_the_oldest_schema(tmp_path: Path) -> None:
    """And changes nothing of its tables."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript((FIXTURES / f"outbox-{outbox.OLDEST_VERSION}.sql").read_text())
    before = ask(path, TABLES)
    Service(tmp_path / "hooks.db").migrate()
    service = Service(tmp_path / "hooks.db", path)
    await service.start(migrating=False)
    await service.until(lambda: ask(path, "SELECT min(fanned_out_at) FROM outbox WHERE rejected_reason IS NULL")[0][0])
    await service.until(
        lambda: not ask(path, "SELECT 1 FROM outbox WHERE fanned_out_at IS NULL AND rejected_reason IS NULL")
    )
    await service.close()
    assert ask(path, TABLES) == before
    assert ask(path, "SELECT schema_version FROM outbox_meta") == [(outbox.OLDEST_VERSION,)]
