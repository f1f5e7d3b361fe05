"""Columns of rows come into PostgreSQL as they are, whatever their texts hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almirant_webhooks.storage.postgres.arrays import NO_TEXT, literal

from ...support.postgres import Outbox, new_database

TYPES = {"text": "text[]", "int": "bigint[]", "bytes": "bytea[]", "time": "timestamptz[]"}
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.sampled_from('{}",\\ \x00\n')),
    st.sampled_from(["NULL", "null", ""]),
)
numbers = st.integers(-(2**63), 2**63 - 1)


@pytest.fixture(scope="module")
def conn() -> Iterator[psycopg.Connection[Any]]:
    there: Outbox = new_database(with_outbox=False)
    with psycopg.connect(there.url) as conn:
        yield conn


def read(conn: psycopg.Connection[Any], kind: str, column: list[Any]) -> list[Any]:
    query = f"SELECT coalesce(array_length(v.a, 1), 0), v.a FROM (SELECT %s::{TYPES[kind]} AS a) v"
    ((count, found),) = conn.execute(query, [literal(kind, column)]).fetchall()
    assert count == len(column)
    return list(found)


@given(column=st.lists(st.none() | texts))
@settings(max_examples=300, deadline=None)
def test_texts_are_there_as_they_were(conn: psycopg.Connection[Any], column: list[str | None]) -> None:
    """Braces, quotes, backslashes, the word NULL and nothing at all; a NUL has another character in its place."""
    assert read(conn, "text", column) == [value and value.replace("\0", NO_TEXT) for value in column]


@given(column=st.lists(st.none() | numbers | st.booleans()))
@settings(max_examples=50, deadline=None)
def test_numbers_and_truths_are_numbers(conn: psycopg.Connection[Any], column: list[int | None]) -> None:
    """A truth is 0 or 1, as in a file."""
    assert read(conn, "int", column) == column


@given(column=st.lists(st.none() | st.binary()))
@settings(max_examples=50, deadline=None)
def test_bytes_are_there_as_they_were(conn: psycopg.Connection[Any], column: list[bytes | None]) -> None:
    """Those of an answer's body."""
    assert read(conn, "bytes", column) == column


def test_times_are_those_of_their_texts(conn: psycopg.Connection[Any]) -> None:
    """As the contract writes them."""
    found = read(conn, "time", ["2026-11-30T03:00:00.125Z", None])
    assert found == [datetime(2026, 11, 30, 3, microsecond=125_000, tzinfo=UTC), None]
