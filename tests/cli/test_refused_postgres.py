"""What the commands say of a PostgreSQL that they cannot use, and what they print for one that is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from almirant_webhooks.storage.postgres import connection, scripts

from ..support.postgres import new_database, new_tables
from ..support.postgres_service import INSERT, EverythingInPostgres, shell_of, shell_of_all

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]


@pytest.mark.parametrize("kind", ["outbox.url", "database.url"])
def test_a_server_that_is_too_old_is_exit_78(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """With the release that it is of, and the oldest that will do."""
    there = new_database(with_outbox=False)
    shell = (
        shell_of(tmp_path, there)
        if kind == "outbox.url"
        else shell_of_all(EverythingInPostgres(tmp_path, there), tmp_path)
    )
    release = there.ask("SHOW server_version_num")[0][0]
    assert connection.OLDEST == 140000 <= int(release)
    monkeypatch.setattr(connection, "OLDEST", 990000)
    words = shell.ours("migrate", code=78)
    assert f"the server is PostgreSQL {int(release) // 10000}; 99 or newer is needed" in words
    assert there.ask("SELECT to_regnamespace('almirant_webhooks')") == [(None,)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE database_meta SET schema_version = 99", "was made by a newer release"),
        ("UPDATE database_meta SET schema_version = 1", "it has an older schema"),
        ("DELETE FROM database_meta", "the row of the table database_meta was deleted"),
        ("UPDATE outbox_meta SET schema_version = 99", "the outbox was made by a newer release (schema 99"),
    ],
)
def test_tables_of_another_release_are_exit_78_for_every_command(tmp_path: Path, change: str, words: str) -> None:
    """With a sentence, and so they are where nothing says of which they are."""
    service = EverythingInPostgres(tmp_path, new_tables())
    service.there.ask(change)
    shell = service.shell(tmp_path)
    send = ("event", "send", "--project", "p", "--type", "lead.created", "--data", "{}")
    for command in (
        ("stats",),
        ("webhook", "list"),
        send,
        ("prune", "--dry-run"),
        ("token", "--rotate", "--yes"),
        ("serve",),
    ):
        assert words in shell.ours(*command, code=78)
    assert words in shell.ours("doctor", code=1)


def test_outbox_sql_prints_the_tables_for_postgresql(tmp_path: Path) -> None:
    """In a schema of ours or of another name; an application's migration runs it, and inserts."""
    there = new_database(with_outbox=False)
    shell = shell_of(tmp_path, there)
    for name in ("almirant_webhooks", "shop_events"):
        words = () if name == "almirant_webhooks" else ("--schema", name)
        with there.connect() as conn:
            conn.execute(shell.run("outbox-sql", "--postgres", *words).encode())
            conn.execute(f"SET search_path = {name}")
            conn.execute(INSERT, ["{}"])
        assert there.ask(f"SELECT project_id FROM {name}.outbox") == [("proj_1",)]
    assert "--schema goes with --postgres" in shell.run("outbox-sql", "--schema", "shop_events", code=2)
    newest = scripts.SCHEMA_VERSION
    assert shell.run("outbox-sql", "--postgres", "--from", str(newest)) == ""
    assert "newer than the present schema" in shell.run("outbox-sql", "--postgres", "--from", str(newest + 1), code=2)
    assert "--schema" in shell.run("outbox-sql", "--postgres", "--schema", 'x"; DROP', code=1)


def test_keys_that_somebody_deleted_are_made_anew_by_migrate(tmp_path: Path) -> None:
    """`serve` says so and ends with 78, instead of by a fault of its own."""
    service = EverythingInPostgres(tmp_path, new_database(with_outbox=False))
    shell = service.shell()
    shell.ours("migrate")
    service.there.ask("DELETE FROM operator_keys")
    assert "operator_keys has no row. `almirant-webhooks migrate` makes" in shell.ours("serve", code=78)
    shell.ours("migrate")
    assert service.there.ask("SELECT count(*) FROM operator_keys") == [(1,)]
