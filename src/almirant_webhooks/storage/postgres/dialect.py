"""How PostgreSQL wants to read the statements that both engines run (`storage.sql`); they are written in SQLite's words.

Functions that only SQLite has by itself (`json_each`, `iif`, `sum` of truths and others) are made in our schema by its first
migration. Here is what no function can do. See docs/decisions/one-text.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

_BUNDLE = "json_group_array("
_ROW = "json_array("
_HINT = re.compile(r"\b(?:NOT INDEXED|INDEXED BY \w+)\b")
_CROSS_JOIN = re.compile(r"\bCROSS JOIN\b")  # with ON: SQLite joins in this order, PostgreSQL plans by itself
_IS_VALUE = re.compile(r"\bIS \?(\d*)")
_STARTS_WITH = re.compile(r"\bGLOB '([^'*?\[]*)\*'")
_ENABLED = re.compile(r"\benabled = ([01])\b")  # the one truth that is a boolean in PostgreSQL's tables
_CAST = re.compile(r"\bCAST\(")
_ROWS_OF_SELECT = re.compile(r"\browid IN \((?=\s*SELECT\b)")
_SELECT_IN_FROM = re.compile(r"\bFROM\s+\((?=\s*(?:SELECT|WITH)\b)")
_ALIAS = re.compile(r"\s+(?:AS\s+)?(?!(?:WHERE|GROUP|ORDER|LIMIT|JOIN|LEFT|UNION|ON|RETURNING)\b)[A-Za-z_]\w*")
_PARAMETER = re.compile(
    r"'(?:[^']|'')*'|\"[^\"]*\"|(?:\?(?P<number>\d*)|(?<![:\w]):(?P<name>[a-z_]\w*))(?P<is_null>\s+IS\s+(?:NOT\s+)?NULL\b)?"
)
_TYPES = {"text": "text", "int": "bigint", "time": "timestamptz", "bytes": "bytea"}


class Statement(NamedTuple):
    """A statement for PostgreSQL, with parameters `$1` and so on; `order` says which value each of them takes."""

    text: str
    order: tuple[int | str, ...]

    def values(self, given: Sequence[object] | Mapping[str, object]) -> list[object]:
        """Return the values in the order of the parameters."""
        values: Any = given
        return [values[key] for key in self.order]


@lru_cache(maxsize=1024)
def spell(sql: str) -> Statement:
    """Spell a statement for PostgreSQL."""
    text = _CROSS_JOIN.sub("JOIN", _HINT.sub("", sql))
    text = _IS_VALUE.sub(r"IS NOT DISTINCT FROM ?\1", text)
    text = _STARTS_WITH.sub(_like, text)
    text = text.replace("group_concat(", "string_agg(")  # an aggregate that does the same is a superuser's to make
    text = _ENABLED.sub(lambda match: f"enabled = {bool(int(match[1]))}", text)
    return _number(_name_selects(_cast(_list_rows(text))))


@lru_cache(maxsize=256)
def spell_rows(select: str) -> Statement:
    """Spell `SELECT json_group_array(json_array(…)) …` as a SELECT of those columns."""
    begin = select.index(_BUNDLE)
    columns, end = _inside(select, begin + len(_BUNDLE))
    row = columns.lstrip()
    if row.startswith(_ROW):
        columns, _ = _inside(row, len(_ROW))
    return spell(select[:begin] + columns + select[end:])


@lru_cache(maxsize=256)
def spell_list(statement: str, types: str) -> str:
    """Spell a statement for many rows: `VALUES {rows}` becomes one list for each column, which are `$1` and so on."""
    kinds = types.split()
    lists = ", ".join(f"${place}::{_TYPES[kind]}[]" for place, kind in enumerate(kinds, 1))
    names = ", ".join(f"column{place}" for place in range(1, len(kinds) + 1))
    return spell(statement.replace("VALUES {rows}", f"SELECT * FROM unnest({lists}) AS listed ({names})")).text


def _like(match: re.Match[str]) -> str:
    begin = re.sub(r"([_%\\])", r"\\\1", match[1])
    return f"LIKE '{begin}%'"


def _cast(sql: str) -> str:
    """Spell casts: bytes are those of UTF-8, and an integer has 64 bits."""
    at = 0
    while (match := _CAST.search(sql, at)) is not None:
        what, end = _inside(sql, match.end())
        if what.endswith(" AS BLOB"):
            new = f"convert_to({what.removesuffix(' AS BLOB')}, 'UTF8')"
        else:
            new = f"CAST({re.sub(' AS INTEGER$', ' AS bigint', what)})"
        sql = sql[: match.start()] + new + sql[end:]
        at = match.start() + 1
    return sql


def _list_rows(sql: str) -> str:
    """Spell `rowid IN (SELECT …)` as a list, whose rows PostgreSQL looks up in their index.

    A SELECT that names a column of another table would be run anew for each row of the whole table.
    """
    at = 0
    while (match := _ROWS_OF_SELECT.search(sql, at)) is not None:
        select, end = _inside(sql, match.end())
        sql = f"{sql[: match.start()]}rowid = ANY (ARRAY({select})){sql[end:]}"
        at = match.end()
    return sql


def _name_selects(sql: str) -> str:
    """Name each SELECT in a FROM that has no name, as PostgreSQL wants it before release 16."""
    at = number = 0
    while (match := _SELECT_IN_FROM.search(sql, at)) is not None:
        _, end = _inside(sql, match.end())
        if not _ALIAS.match(sql, end):
            number += 1
            sql = f"{sql[:end]} AS select_{number}{sql[end:]}"
        at = match.end()
    return sql


def _inside(sql: str, begin: int) -> tuple[str, int]:
    """Return what stands in the brackets that were opened before `begin`, and the place behind them."""
    depth, is_text = 1, False
    for at in range(begin, len(sql)):
        if sql[at] == "'":
            is_text = not is_text
        elif not is_text and sql[at] in "()":
            depth += 1 if sql[at] == "(" else -1
            if not depth:
                return sql[begin:at], at + 1
    raise ValueError(f"brackets that are not closed: {sql}")


def _number(sql: str) -> Statement:
    """Number the parameters: SQLite's are `?`, `?1` or `:name`.

    One that is compared with NULL gets a number of its own there, as its type can be told by nothing else.
    """
    keys: list[tuple[int | str, bool]] = []
    values = 0

    def numbered(match: re.Match[str]) -> str:
        nonlocal values
        if match[0][0] in "'\"":
            return match[0]
        key: int | str = match["name"] or (int(match["number"]) - 1 if match["number"] else values)
        values += not match["name"] and not match["number"]
        is_null = match["is_null"]
        if (key, bool(is_null)) not in keys:
            keys.append((key, bool(is_null)))
        return f"${keys.index((key, bool(is_null))) + 1}" + (f"::text{is_null}" if is_null else "")

    text = _PARAMETER.sub(numbered, sql)
    return Statement(text, tuple(key for key, _ in keys))
