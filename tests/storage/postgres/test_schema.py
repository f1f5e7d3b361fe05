"""The tables of both engines, side by side."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ...support.fresh import make_database
from ...support.postgres import new_database, new_tables
from ...support.postgres_service import EverythingInPostgres, shell_of_all

# A file has one daemon, and its keys in a file beside it.
ONLY_THERE = {"buckets", "daemons", "daemon_batches", "moves", "operator_keys"}
OWN = {("database_meta", "schema_version")}  # SQLite has it in the file's header
ROW = {("deliveries", "rowid"), ("attempts", "rowid")}  # every table of SQLite's has it


def test_both_engines_have_the_same_tables_columns_and_views(tmp_path: Path) -> None:
    """What an operator reads by SQL is named alike in both (contract, section 6)."""
    make_database(tmp_path / "log.db", None)
    with closing(sqlite3.connect(tmp_path / "log.db")) as conn:
        names = [
            row[0]
            for row in conn.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
            )
        ]
        sqlite = {(name, row[1]) for name in names for row in conn.execute(f"PRAGMA table_xinfo({name})")}
    postgres = set(
        new_tables().ask(
            "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'almirant_webhooks'"
        )
    )
    meta = {column for column in sqlite | postgres if column[0] == "outbox_meta"}  # it holds what its own engine needs
    postgres = {column for column in postgres if column[0] not in ONLY_THERE}
    assert postgres - meta - OWN - ROW == sqlite - meta


OTHERS = {
    "a table named events": ("CREATE TABLE events (id int)", "events"),
    "a view named deliveries": ("CREATE VIEW deliveries AS SELECT 1 AS id", "deliveries"),
    "a table named database_meta": ("CREATE TABLE database_meta (key text)", "database_meta"),
    "a table named outbox": ("CREATE TABLE outbox (id int, mail text)", "outbox"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("statement", "name"), OTHERS.values(), ids=OTHERS)
def test_an_application_s_own_table_of_such_a_name_is_told_as_what_it_is(
    tmp_path: Path, statement: str, name: str
) -> None:
    """By `migrate` and `serve`: another schema; nothing is made, changed or restored."""
    there = new_database(with_outbox=False)
    there.ask("CREATE SCHEMA almirant_webhooks")
    there.ask(statement)
    service = EverythingInPostgres(tmp_path, there)
    shell = shell_of_all(service, tmp_path)
    before = there.ask("SELECT oid, relname FROM pg_class ORDER BY oid")
    for command in (("migrate",), ("serve", "--migrate")):
        said = shell.ours(*command, code=78)
        assert f"has a table of another program that is named {name}" in said
        assert "Name another schema (database.schema)" in said
        assert there.ask("SELECT oid, relname FROM pg_class ORDER BY oid") == before
    assert "migrate" in shell.ours("serve", code=78)
