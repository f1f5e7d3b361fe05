"""The tables of both engines, side by side."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ...support.fresh import make_database
from ...support.postgres import ANOTHER, new_database, new_tables
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


# By SQLite's type, what PostgreSQL's may be; and whether it may be NULL is the same.
ALIKE = {
    "TEXT": {"text", "timestamp with time zone"},
    "INTEGER": {"bigint", "integer", "smallint", "boolean"},
    "BLOB": {"bytea"},
}
_TYPES = """
SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'NO' FROM information_schema.columns
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE table_schema = 'almirant_webhooks' AND t.table_type = 'BASE TABLE'
"""


def test_the_types_of_both_engines_columns_correspond(tmp_path: Path) -> None:
    """A text or a time, a number or a truth, bytes: what one engine keeps the other can."""
    make_database(tmp_path / "log.db", None)
    with closing(sqlite3.connect(tmp_path / "log.db")) as conn:
        tables = [
            row[0]
            for row in conn.execute("SELECT name FROM pragma_table_list WHERE type = 'table' AND schema = 'main'")
        ]
        sqlite = {
            (table, row[1]): (row[2], bool(row[3] or row[5]))
            for table in tables
            for row in conn.execute(f"PRAGMA table_xinfo({table})")
        }
    postgres = {(table, column): (kind, required) for table, column, kind, required in new_tables().ask(_TYPES)}
    both = {place: (sqlite[place], postgres[place]) for place in sqlite.keys() & postgres.keys()}
    assert len(both) > 100
    assert {place: kinds for place, kinds in both.items() if kinds[1][0] not in ALIKE[kinds[0][0]]} == {}
    assert {place: kinds for place, kinds in both.items() if kinds[0][1] != kinds[1][1]} == {}


_TEXTS = """
SELECT c.relname::text, a.attname::text, k.collname::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_collation k ON k.oid = a.attcollation
WHERE c.relnamespace = 'almirant_webhooks'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind = ANY(%s)
"""
# For people, or compared as a whole at most: nothing is ordered or keyed by them.
WORDS = {("daemons", "name"), ("outbox", "rejected_reason"), ("outbox_meta", "database_id")}


def test_texts_are_in_the_order_of_their_bytes_whatever_the_collation_of_the_database_is() -> None:
    """Those of tables, and all that an index is ordered by: SQLite's order, which pages and walks go on by."""
    there = new_tables()
    columns = {(table, column): collation for table, column, collation in there.ask(_TEXTS, ["r"])}
    assert {place for place, collation in columns.items() if collation != "C"} == WORDS
    assert len(columns) > 50
    indexed = there.ask(_TEXTS, ["i"])
    assert {collation for _, _, collation in indexed} == {"C"}, indexed


@pytest.mark.slow
def test_a_database_with_another_collation_has_another_order() -> None:
    """The one that the conformance suite runs over as well; our tables keep theirs."""
    there, texts = new_tables(ANOTHER), ["a-10", "a9", "B", "b"]
    (order,) = there.ask(
        'SELECT array_agg(t ORDER BY t), array_agg(t ORDER BY t COLLATE "C") FROM unnest(%s::text[]) t', texts
    )
    assert order == (["a9", "a-10", "b", "B"], sorted(texts))


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
