"""Filters of Convoy and Outpost, which are written alike, as conditions of ours. What has no equal is named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_OPERATORS = {
    "$eq": "=",
    "$neq": "!=",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
    "$in": "in",
    "$nin": "not in",
    "$startsWith": "starts with",
    "$endsWith": "ends with",
}
_ORDERS = ("$gt", "$gte", "$lt", "$lte")
_BARE = re.compile(r"[^\s.,=!<>\[\]{}\"'\\$]+")
MAX_DEPTH = 32
PLAIN_VALUE = "A value in its filter is equality here; there it holds of an array that has the value too (contains)."
Conditions = list[dict[str, Any]]


class NoEqual(Exception):
    """A part of a filter that no condition of ours says; its text names it."""


def conditions(filter_: Mapping[str, Any], root: str) -> Conditions:
    """Return the conditions of a filter, all of which must hold; paths begin at `root`. Raises `NoEqual`."""
    return list(_walk(filter_, root, 0))


def has_plain_value(found: Conditions) -> bool:
    """Tell whether a value stands for equality, which there holds of an array that has the value too."""
    return any(condition["op"] == "=" for condition in found)


def _walk(filter_: Mapping[str, Any], path: str, depth: int) -> Iterator[dict[str, Any]]:
    if depth > MAX_DEPTH:
        raise NoEqual("objects that are nested too deeply")
    for name, value in filter_.items():
        if name == "$and":
            if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
                raise NoEqual("$and without a list of filters")
            for part in value:
                yield from _walk(part, path, depth + 1)
        elif name == "$exist":
            if not isinstance(value, bool):
                raise NoEqual("$exist without true or false")
            yield {"field": path, "op": "exists" if value else "not exists"}
        elif name in _OPERATORS:
            yield _condition(name, value, path)
        elif name.startswith("$") or ".$" in name:
            raise NoEqual(name[:40])
        elif isinstance(value, dict):
            yield from _walk(value, _below(path, name), depth + 1)
        elif isinstance(value, list):
            raise NoEqual("a list as a value")
        else:
            yield {"field": _below(path, name), "op": "=", "value": value}


def _condition(name: str, value: Any, path: str) -> dict[str, Any]:
    if name in ("$in", "$nin"):
        if not isinstance(value, list):
            raise NoEqual(f"{name} without a list")
    elif isinstance(value, dict | list):
        raise NoEqual(f"{name} of an object or a list")
    if name in _ORDERS and (isinstance(value, bool) or not isinstance(value, int | float | str)):
        raise NoEqual(f"{name} of what has no order")
    return {"field": path, "op": _OPERATORS[name], "value": value}


def _below(path: str, name: str) -> str:
    """Return the path of a key, whose dots lead further in both; a key that needs it is quoted."""
    for word in name.split("."):
        path += f".{word}" if _BARE.fullmatch(word) else f"[{json.dumps(word)}]"
    return path.removeprefix(".")
