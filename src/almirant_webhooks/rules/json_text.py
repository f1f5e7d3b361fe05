"""Writes values that `paths.read` has read as JSON again, or as the inside of a JSON string, without recursion."""

from __future__ import annotations

import json
import re

from .paths import MISSING, Number, Value

_encode = json.JSONEncoder(ensure_ascii=False).encode
_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair: it is no UTF-8, and only an escape can hold it


def written(value: object) -> str:
    """Return a value of Python as JSON, in which UTF-8 can hold every character."""
    string = _encode(value)
    return string if string.isascii() else _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", string)


def as_json(value: Value) -> str:
    """Return a value as compact JSON, its numbers as they were spelled; `null` for what is not there."""
    kind = type(value)
    if kind is str:
        return written(value)
    if kind is Number:
        return str(value)
    if kind is dict or kind is list:
        return _compact(value)
    return "true" if value is True else "false" if value is False else "null"


def as_text(value: Value) -> str:
    """Return a value's text as it stands inside a JSON string: of an object or array its compact JSON, nothing for what is not there."""
    kind = type(value)
    if kind is str:
        return written(value)[1:-1]
    if value is MISSING:
        return ""
    if kind is dict or kind is list:
        return written(_compact(value))[1:-1]
    return as_json(value)


def _compact(value: Value) -> str:
    pieces: list[str] = []
    to_write: list[Value] = [value]  # from its end; a number here is a piece of JSON, for it is written as it is
    while to_write:
        item = to_write.pop()
        if type(item) is dict:
            begin = Number("{")
            inner: list[Value] = []
            for key, member in item.items():
                inner += (Number(f"{begin}{written(key)}:"), member)
                begin = Number(",")
            to_write.append(Number("}" if inner else "{}"))
            to_write += reversed(inner)
        elif type(item) is list:
            inner = []
            for member in item:
                inner += (Number("," if inner else "["), member)
            to_write.append(Number("]" if inner else "[]"))
            to_write += reversed(inner)
        else:
            pieces.append(as_json(item))
    return "".join(pieces)
