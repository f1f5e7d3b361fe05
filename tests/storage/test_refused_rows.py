"""Rows that an outbox refuses, and odd ones that it takes: the same ones, and in the same words, in SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest

from almirant_webhooks.model import MAX_PAYLOAD_BYTES
from almirant_webhooks.storage.sqlite.migrate import outbox_sql

from ..support import postgres

EVENT_ID = "event_id must be 1 to 128 letters, digits, _, - or :"
PROJECT_ID = "project_id must be 1 to 128 printable ASCII characters without spaces"
EVENT_TYPE = "event_type must be dotted lower-case words such as work_item.created, at most 128 characters"
PAYLOAD = "payload must be a JSON object"
SIZE = "payload must be at most 256 KiB of UTF-8"
OCCURRED_AT = "occurred_at must be a UTC time written YYYY-MM-DDTHH:MM:SS.mmmZ"
DEEP = 100_000  # levels: more than any parser of JSON goes down
ROW = {"project_id": "p", "event_type": "a.b", "payload": "{}"}


def payload_of(size: int, char: str = "x") -> str:
    """A payload of so many bytes of UTF-8, most of them of one character."""
    count, rest = divmod(size - len('{"a":""}'), len(char.encode()))
    return f'{{"a":"{char * count}{"b" * rest}"}}'


REFUSED = [
    *(
        (EVENT_ID, "event_id", text)
        for text in (
            "", " ", "a b", "a" * 129, "a\n", "\na", "é", "e\u0301", "ſ", "\u212a", "１", "a\u200b", "\U0001f600", "a.b", "a/b",
        )
    ),
    *(
        (PROJECT_ID, "project_id", text)
        for text in ("", " ", "a b", "a" * 129, "a\nb", "a\n", "\t", "a\x7f", "\x1f", "é", "\u00a0", "\u2028", "ａ")
    ),
    *(
        (EVENT_TYPE, "event_type", text)
        for text in (
            "", "created", "Created", "a.B", ".a.b", "a.b.", "a..b", ".", "a-b.c", "a b.c", "a.b\n", "a.ß", "a.ı", "ſ.a",
            "a.１", "a.b/c", "a" * 127 + ".b",
        )
    ),
    *(
        (PAYLOAD, "payload", text)
        for text in (
            "", " ", "null", "true", "1", '"{}"', "[]", '[{"a": 1}]', "{", "}", "{}{}", "{} x", "{a: 1}", "{'a': 1}",
            '{"a": 1,}', '{"a"}', '{"a":}', '{1: 2}', '{"a": NaN}', '{"a": Infinity}', '{"a": 01}', '{"a": +1}', '{"a": .5}',
            '{"a": 1.}', '{"a": 0x10}', '{"a": 1e}', '{"a": tru}', '{"a": "\t"}', '{"a": "\n"}', '{"a": "\\x"}',
            '{"a": "\\u12"}', '{"a": "\\ud8zz"}', "\ufeff{}", "\u00a0{}", "\f{}", "{} // so", "/* so */ {}", "\u200b{}",
            f'{{"a": {"[" * DEEP}{"]" * DEEP}}}', '{"a":' * 40_000 + "1" + "}" * 40_000,
        )
    ),
    *((SIZE, "payload", payload_of(MAX_PAYLOAD_BYTES + 1, char)) for char in ("x", "é", "漢", "😀")),
    (SIZE, "payload", "x" * (MAX_PAYLOAD_BYTES + 1)),
    *(
        (OCCURRED_AT, "occurred_at", text)
        for text in ("infinity", "-infinity", "10000-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000Z BC")
    ),
]  # fmt: skip

TAKEN = [
    ("event_id", "Az09_-:" + "a" * 121),
    ("project_id", "!~" + "a" * 126),
    ("project_id", 'it\'s "q"%$\\'.replace(" ", "_")),
    ("event_type", "a." + "b" * 126),
    ("event_type", "0._"),
    *(
        ("payload", text)
        for text in (
            *(payload_of(MAX_PAYLOAD_BYTES, char) for char in ("x", "é", "漢", "😀")),
            f'{{"n": {"9" * 400}, "m": -0, "x": 1E400, "y": 0.{"1" * 400}e-400}}',
            r'{"half": "\ud800", "other half": "\udc00\ud83d", "pair": "\ud83d\ude00", "nul": "\u0000"}',
            '{"\u2028\u2029": "\ufffe\uffff \U0010ffff \U0001f600é漢 e\u0301 \x7f \u202e \ufeff"}',
            ' \t\r\n{"a" : 1 , "a" : 2}\n',
            '{"b": 1, "a": [1.0, 1, "1"], "": {}}',
            f'{{"a": {"[" * 900}{"]" * 900}}}',
        )
    ),
    ("occurred_at", "2024-02-29T23:59:59.999Z"),
    ("occurred_at", "9999-12-31T23:59:59.999Z"),
    ("occurred_at", "0001-01-01T00:00:00.000Z"),
]


class Sqlite:
    """An outbox as `outbox-sql` prints it."""

    def __init__(self) -> None:
        self.conn = sqlite3.connect(":memory:", isolation_level=None)
        self.conn.executescript(outbox_sql())

    def insert(self, **fields: object) -> str:
        """Insert a row and take it back; return what it has at the first of the fields. Raises `ValueError` with the refusal."""
        row = {**ROW, **fields}
        self.conn.execute("BEGIN")
        try:
            insert = f"INSERT INTO outbox ({', '.join(row)}) VALUES ({', '.join('?' * len(row))}) RETURNING {next(iter(fields))}"
            return str(self.conn.execute(insert, tuple(row.values())).fetchone()[0])
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise ValueError(str(error)) from error
        finally:
            self.conn.execute("ROLLBACK")


class Postgres:
    """The same in PostgreSQL."""

    def __init__(self) -> None:
        self.conn = postgres.new_database().connect(autocommit=True)

    def insert(self, **fields: object) -> str:
        row = {**ROW, **fields}
        try:
            with self.conn.transaction(force_rollback=True):
                insert = f"INSERT INTO outbox ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))}) RETURNING {next(iter(fields))}"
                return str(self.conn.execute(insert.encode(), tuple(row.values())).fetchall()[0][0])
        except psycopg.errors.CheckViolation as error:
            raise ValueError(f"CHECK constraint failed: {error.diag.message_primary}") from error
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise ValueError(str(error)) from error


@pytest.fixture(scope="module", params=[Sqlite, pytest.param(Postgres, marks=pytest.mark.long)])
def outbox(request: pytest.FixtureRequest) -> Iterator[Sqlite | Postgres]:
    """An outbox of each engine; each row is taken back."""
    made = request.param()
    with closing(made.conn):
        yield made


def test_a_broken_row_is_refused_with_its_rule(outbox: Sqlite | Postgres) -> None:
    """The error has the rule's words and nothing else, the same ones in both engines."""
    for rule, field, text in REFUSED:
        with pytest.raises(ValueError, match="CHECK") as raised:
            outbox.insert(**{field: text})
        assert str(raised.value) == f"CHECK constraint failed: {rule}", (field, text[:80])


def test_odd_rows_that_break_no_rule_are_taken_as_they_are(outbox: Sqlite | Postgres) -> None:
    """What is stored is what was written, character by character."""
    for field, text in TAKEN:
        stored = outbox.insert(**{field: text})
        if isinstance(outbox, Postgres) and field == "occurred_at":
            assert datetime.fromisoformat(stored) == datetime.fromisoformat(text)
        else:
            assert stored == text


@pytest.mark.parametrize("field", ["event_id", "project_id", "event_type", "payload", "occurred_at"])
@pytest.mark.parametrize("text", ["a.b\0", "\0", '{"a": "\0"}', "\ud800", '{"a": "\udfff"}'])
def test_what_is_no_text_is_in_no_row(outbox: Sqlite | Postgres, field: str, text: str) -> None:
    """A NUL and half of a surrogate pair: by the rule, or by the driver before it."""
    with pytest.raises(ValueError, match=r"CHECK constraint failed|NUL|surrogates not allowed"):
        outbox.insert(**{field: text})


@pytest.mark.parametrize(
    "text",
    ["", "yesterday, maybe", "2026-02-30T00:00:00.000Z", "2026-13-01T00:00:00.000Z", "300000-01-01T00:00:00.000Z"],
)
def test_what_is_no_time_is_refused(outbox: Sqlite | Postgres, text: str) -> None:
    """PostgreSQL's own type does it there, in its own words, which name what was wrong."""
    words = "date/time|time zone|timestamp" if isinstance(outbox, Postgres) else OCCURRED_AT
    with pytest.raises(ValueError, match=words):
        outbox.insert(occurred_at=text)


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    ["2026-11-23T10:30:00+01:30", "2026-11-23 09:00:00.0Z", "2026-11-23T09:00:00.000+00", "2026-11-22T23:00:00-10:00"],
)
def test_postgresql_takes_a_time_of_any_zone(text: str) -> None:
    """It is the moment that counts, as the column is a `timestamptz`."""
    outbox = Postgres()
    with closing(outbox.conn):
        assert datetime.fromisoformat(outbox.insert(occurred_at=text)) == datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
