"""How statements that both engines run are spelled for PostgreSQL."""

from __future__ import annotations

import pytest

from almirant_webhooks.storage.postgres.dialect import spell, spell_list, spell_rows


@pytest.mark.parametrize(
    ("sqlite", "postgres"),
    [
        ("SELECT a FROM b INDEXED BY c WHERE d", "SELECT a FROM b  WHERE d"),
        ("SELECT 1 FROM a CROSS JOIN b ON b.x = a.x", "SELECT 1 FROM a JOIN b ON b.x = a.x"),
        ("UPDATE w SET enabled = 0 WHERE enabled = 1", "UPDATE w SET enabled = False WHERE enabled = True"),
        ("SELECT CAST(body AS BLOB)", "SELECT convert_to(body, 'UTF8')"),
        ("SELECT CAST(substr(a, 1) AS INTEGER)", "SELECT CAST(substr(a, 1) AS bigint)"),
        ("WHERE kind GLOB 'a_b%.*'", r"WHERE kind LIKE 'a\_b\%.%'"),
        ("WHERE status NOT GLOB '2*'", "WHERE status NOT LIKE '2%'"),
        ("WHERE status IS ?", "WHERE status IS NOT DISTINCT FROM $1"),
        ("SELECT 1 FROM (SELECT 2)", "SELECT 1 FROM (SELECT 2) AS select_1"),
        ("SELECT 1 FROM (SELECT 2 FROM (SELECT 3) x)", "SELECT 1 FROM (SELECT 2 FROM (SELECT 3) x) AS select_1"),
        ("SELECT 1 FROM (SELECT ')') WHERE a", "SELECT 1 FROM (SELECT ')') AS select_1 WHERE a"),
        (
            "d.rowid IN (\nSELECT max(a) FROM b LIMIT 1) AND c",
            "d.rowid = ANY (ARRAY(\nSELECT max(a) FROM b LIMIT 1)) AND c",
        ),
        ("rowid NOT IN (SELECT 1)", "rowid NOT IN (SELECT 1)"),
    ],
)
def test_a_statement_keeps_its_meaning_in_postgresql_s_words(sqlite: str, postgres: str) -> None:
    """What both read in the same way stays as it is."""
    assert spell(sqlite).text == postgres


def test_parameters_are_numbered_however_they_are_written() -> None:
    """Those of a text are none, and one that is used twice is given once."""
    assert spell("SELECT ?, ?, '?'") == ("SELECT $1, $2, '?'", (0, 1))
    assert spell("SELECT ?2, ?1, ?2") == ("SELECT $1, $2, $1", (1, 0))
    assert spell("SELECT :a, :b, :a, x::text") == ("SELECT $1, $2, $1, x::text", ("a", "b"))
    assert spell("WHERE ?1 IS NULL OR a < ?1 OR ?2 IS NOT NULL") == (
        "WHERE $1::text IS NULL OR a < $2 OR $3::text IS NOT NULL",
        (0, 0, 1),
    )
    assert spell("SELECT ?2, ?1").values(("first", "second")) == ["second", "first"]


def test_columns_that_sqlite_bundles_are_rows_of_their_own() -> None:
    """Brackets within them stay."""
    select = "SELECT json_group_array(json_array(a, max(b, (c)), ')')) FROM t WHERE x = ?"
    assert spell_rows(select).text == "SELECT a, max(b, (c)), ')' FROM t WHERE x = $1"


def test_many_rows_are_lists_of_their_columns() -> None:
    """Each with its type, as PostgreSQL cannot know it."""
    assert spell_list("INSERT INTO t SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL", "int time") == (
        "INSERT INTO t SELECT * FROM (SELECT * FROM unnest($1::bigint[], $2::timestamptz[]) AS listed (column1, column2)) "
        "AS select_1 WHERE column1 IS NOT NULL"
    )
