"""The outbox's tables in PostgreSQL: what an INSERT may hold, and in which words the rest is refused."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from almirant_webhooks.storage.postgres.scripts import outbox_sql
from almirant_webhooks.storage.postgres.tables import migrate, schema_version
from almirant_webhooks.storage.sqlite import migrate as sqlite_tables

from ...support.postgres import Outbox, new_database

INSERT = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', '{}')"
BROKEN = {
    "event_id": ["", "x" * 129, "a b", "é", "a\n"],
    "project_id": ["", "x" * 129, "a b", "é", "a\n"],
    "event_type": ["", "one", "One.two", ".a", "a.", "a..b", "a.b\n", "a.é", "a." + "b" * 127],
    "payload": ["", "[]", "1", "null", "{", "{} {}", "{'a': 1}", '{"a": NaN}', '{"a": "' + "x" * 262144 + '"}'],
}


@pytest.fixture(scope="module")
def outbox() -> Outbox:
    return new_database()


@pytest.fixture
def conn(outbox: Outbox) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection whose work is rolled back."""
    there = outbox.connect()
    yield there
    there.close()


def _values(**fields: str) -> tuple[str, list[str]]:
    fields = {"project_id": "p", "event_type": "lead.created", "payload": "{}", **fields}
    return ", ".join(fields), list(fields.values())


def _sqlite_words(**fields: str) -> str:
    """What SQLite's outbox says of the same row."""
    names, values = _values(**fields)
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(sqlite_tables.outbox_sql())
        with pytest.raises(sqlite3.IntegrityError) as refused:
            conn.execute(f"INSERT INTO outbox ({names}) VALUES ({', '.join('?' * len(values))})", values)
    return str(refused.value).removeprefix("CHECK constraint failed: ")


@pytest.mark.parametrize("column", BROKEN)
def test_what_breaks_a_rule_is_refused_in_the_words_of_sqlite_s_outbox(
    conn: psycopg.Connection[tuple[object, ...]], column: str
) -> None:
    """Whole, though PostgreSQL cuts the names of constraints; with the column, for programs."""
    for value in BROKEN[column]:
        names, values = _values(**{column: value})
        with pytest.raises(psycopg.errors.CheckViolation) as refused, conn.transaction():
            conn.execute(f"INSERT INTO outbox ({names}) VALUES ({', '.join(['%s'] * len(values))})", values)
        assert refused.value.diag.message_primary == _sqlite_words(**{column: value}), value
        assert refused.value.diag.column_name == column


def test_what_keeps_the_rules_is_taken(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    """At their limits too; an event gets an id and a time in milliseconds."""
    for fields in (
        {},
        {"event_id": "x" * 128, "project_id": "~" * 128, "event_type": "a." + "b" * 126},
        {"payload": '{"a": "' + "é" * 131067 + '"}', "occurred_at": "2026-02-28T23:59:59.999Z"},
        {"payload": ' {"a": [1, {"b": "\\u0000\\ud800"}]} ', "project_id": "q"},
    ):
        names, values = _values(**fields)
        query = (
            f"INSERT INTO outbox ({names}) VALUES ({', '.join(['%s'] * len(values))}) RETURNING event_id, occurred_at"
        )
        (event_id, occurred_at), *_ = conn.execute(query, values).fetchall()
        assert re.fullmatch(r"evt_[0-9a-f]{32}" if "event_id" not in fields else "x+", str(event_id))
        assert occurred_at.microsecond % 1000 == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "10000-01-01T00:00:00Z", "0001-01-01T00:00:00Z BC"])
def test_a_time_that_no_body_can_hold_is_refused(conn: psycopg.Connection[tuple[object, ...]], moment: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="occurred_at must be a UTC time"):
        conn.execute(
            "INSERT INTO outbox (project_id, event_type, payload, occurred_at) VALUES ('p', 'a.b', '{}', %s)", [moment]
        )


def test_an_event_id_is_used_once_in_its_project(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    """ON CONFLICT leaves the second out."""
    insert = "INSERT INTO outbox (event_id, project_id, event_type, payload) VALUES ('e', 'p', 'a.b', '{}')"
    conn.execute(insert)
    assert conn.execute(f"{insert} ON CONFLICT (project_id, event_id) DO NOTHING").rowcount == 0
    with pytest.raises(psycopg.errors.UniqueViolation, match="an event_id is used once in its project"):
        conn.execute(insert)


def test_no_explicit_id_keeps_a_later_row_out(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    """It is refused, also with OVERRIDING SYSTEM VALUE where the sequence has still to give it; so is another one later."""
    conn.execute(INSERT)
    explicit = "INSERT INTO outbox (id, project_id, event_type, payload) {} VALUES (%s, 'p', 'a.b', '{{}}')"
    with pytest.raises(psycopg.errors.GeneratedAlways), conn.transaction():
        conn.execute(explicit.format(""), [10**6])
    with pytest.raises(psycopg.errors.CheckViolation, match="id must be left out"), conn.transaction():
        conn.execute(explicit.format("OVERRIDING SYSTEM VALUE"), [10**6])
    with pytest.raises(psycopg.errors.GeneratedAlways), conn.transaction():
        conn.execute("UPDATE outbox SET id = 1000000")
    conn.execute(explicit.format("OVERRIDING SYSTEM VALUE"), [0])
    conn.execute(INSERT)


def test_of_transactions_that_insert_at_the_same_time_one_sends_the_notify(outbox: Outbox) -> None:
    """None waits for another; alone each does."""
    with outbox.connect(autocommit=True) as listener, outbox.connect() as first, outbox.connect() as second:
        listener.execute("LISTEN almirant_webhooks_outbox")
        first.execute(INSERT)
        second.execute(INSERT)
        second.commit()
        assert list(listener.notifies(timeout=0)) == []
        first.commit()
        assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1
        second.execute(INSERT)
        second.commit()
        assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1


def test_tables_in_a_schema_of_another_name_are_the_same() -> None:
    """Made by `migrate`, which does it once, and by what `outbox-sql` prints; their NOTIFY has the schema's name."""
    made = new_database(with_outbox=False)
    with made.connect() as conn:
        conn.execute(outbox_sql("our_events"))
        conn.execute("SET search_path = our_events")
        conn.execute(INSERT)
    with made.session() as session:
        assert schema_version(session) == 0
        assert len(migrate(session)) == 1
        assert migrate(session) == []
    query = """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attnum"""
    assert made.ask(query, "our_events.outbox") == made.ask(query, "almirant_webhooks.outbox")
