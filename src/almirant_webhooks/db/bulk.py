"""Many rows in one step of SQLite.

Python's lock is given away during each step and has to be fought for after it. Beside a busy event loop that costs far
more than the step itself, so whole groups of rows are written by one statement and read as one row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

# Of few sizes, so that each statement is prepared once; SQLite takes 32,766 values in one.
_SIZES = (256, 64, 16, 4, 1)


def write_rows(conn: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """Run a statement for all rows together; `{rows}` in it stands for their values, as `VALUES {rows}`."""
    begin = 0
    for size in _SIZES:
        while len(rows) - begin >= size:
            group = rows[begin : begin + size]
            conn.execute(_prepared(statement, len(group[0]), size), [value for row in group for value in row])
            begin += size


@lru_cache(maxsize=256)
def _prepared(statement: str, width: int, size: int) -> str:
    row = f"({', '.join('?' * width)})"
    return statement.replace("{rows}", ", ".join([row] * size))


def read_rows(conn: sqlite3.Connection, select: str, *values: object) -> list[list[Any]]:
    """Return the rows of `SELECT json_group_array(json_array(…)) …`; text and whole numbers come back as they are."""
    found: list[list[Any]] = json.loads(conn.execute(select, values).fetchone()[0])
    return found
