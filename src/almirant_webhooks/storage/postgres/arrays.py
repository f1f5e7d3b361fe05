"""Columns of many rows as literals of arrays: made for a column as a whole, as the driver takes one value after the other.

The syntax is https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

NO_TEXT = "\ufffd"  # in place of a NUL, which no text of PostgreSQL's has


def literal(kind: str, column: Sequence[Any]) -> str:
    """Return the literal of an array. The `kind` is that of its values: `text`, `int`, `time` or `bytes`; None is NULL."""
    return f"{{{_WRITTEN[kind](column)}}}"


def _texts(column: Sequence[str | None]) -> str:
    if None in column:
        return ",".join(["NULL" if value is None else _texts((value,)) for value in column])
    joined = "\0".join(column)  # type: ignore[arg-type]
    if joined.count("\0") >= len(column):
        joined = "\0".join([value.replace("\0", NO_TEXT) for value in column if value is not None])
    escaped = joined.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","')
    return f'"{escaped}"' if column else ""


def _numbers(column: Sequence[int | None]) -> str:
    return ",".join(["NULL" if value is None else str(int(value)) for value in column])


def _bytes(column: Sequence[bytes | None]) -> str:
    return ",".join(["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in column])


_WRITTEN: dict[str, Callable[[Sequence[Any]], str]] = {
    "text": _texts,
    "time": _texts,
    "int": _numbers,
    "bytes": _bytes,
}
