"""Reads and writes many rows by one call of SQLite.

Python's lock is released during each call and has to be taken again after it. Beside a busy event loop that costs far
more than the call itself, so groups of rows are written by one statement and read as one row.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

# Whoever writes does so alone. Numbers of deliveries and verdicts count too: if an event's row was deleted by hand, they must not
# get another event.
EVENT_NUMBERS = """
SELECT json_group_array(json_array(last.seq + 1 + v.key)) FROM json_each(?2) v CROSS JOIN (
    SELECT max(coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT max(event_seq) FROM deliveries), 0),
               coalesce((SELECT max(event_seq) FROM filtered_out), 0)) AS seq) last
"""
# Few sizes, so that each statement is prepared once; SQLite takes 32,766 values in one statement.
_SIZES = (1, 4, 16, 32, 48, 64, 96, 128, 192, 256)

# Python asks each value that is no text or number for a way to adapt it, None among them, and that takes five times as long as to
# bind it: there is nothing to adapt.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), lambda none: none)


def write_rows(conn: sqlite3.Connection, statement: str, types: str, rows: Sequence[Sequence[object]]) -> int:
    """Run a statement for all rows together; return how many rows it changed (Python counts that if it begins with UPDATE).

    `{rows}` in it stands for their values, as `VALUES {rows}`; `types` names those of the columns (text, int, time or bytes),
    which SQLite need not know and another engine has to. They are padded to the next size with rows of NULL: an
    INSERT must leave those out (`WHERE column1 IS NOT NULL`).
    """
    changed = 0
    for begin in range(0, len(rows), _SIZES[-1]):
        group = rows[begin : begin + _SIZES[-1]]
        width = len(group[0])
        size = _SIZES[bisect_left(_SIZES, len(group))]
        values = [*chain.from_iterable(group), *repeat(None, (size - len(group)) * width)]
        changed += conn.executemany(_prepared(statement, width, size), (values,)).rowcount
    return changed


@lru_cache(maxsize=256)
def _prepared(statement: str, width: int, size: int) -> str:
    row = f"({', '.join('?' * width)})"
    return statement.replace("{rows}", ", ".join([row] * size))


def read_rows(conn: sqlite3.Connection, select: str, *values: object) -> list[list[Any]]:
    """Return the rows of `SELECT json_group_array(json_array(…)) …`, in any order; text and integers keep their types.

    SQLite orders an aggregate only by an `ORDER BY` inside its brackets (from 3.44 on), so the caller has to sort.
    """
    rows: list[list[Any]] = json.loads(conn.execute(select, values).fetchone()[0])
    return rows


def read_together(conn: sqlite3.Connection, selects: Sequence[str], *values: object) -> list[list[list[Any]]]:
    """Return the rows of several such SELECTs, by one call. Their parameters are numbered, as of one statement."""
    row = conn.execute(f"SELECT {', '.join(f'({select})' for select in selects)}", values).fetchone()
    return [json.loads(text) for text in row]
