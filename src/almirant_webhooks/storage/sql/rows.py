"""Rows as the dictionaries of `records`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, cast, get_args, get_type_hints

from .session import Row

Kind = TypeVar("Kind", bound=Mapping[str, Any])


def row_as(kind: type[Kind], row: Row, **more: object) -> Kind:
    """Return a row as a dictionary with just the keys of its type, some of which are given as `more`.

    0 and 1 become truths, and words members of an enumeration, where the type says so. Raises KeyError for a key that is
    nowhere.
    """
    hints, converts = _shape(kind)
    columns = {**dict(row), **more}
    values = {name: columns[name] for name in columns if name in hints}
    if len(values) < len(hints):
        raise KeyError(*sorted(hints - values.keys()))
    for name, convert in converts:
        if values[name] is not None:
            values[name] = convert(values[name])
    return cast("Kind", values)


@lru_cache
def _shape(kind: type) -> tuple[frozenset[str], tuple[tuple[str, Callable[[Any], object]], ...]]:
    """Return the keys of a type, and those whose values are made from a column's."""
    hints = get_type_hints(kind)
    converts = tuple(
        (name, option)
        for name, hint in hints.items()
        for option in get_args(hint) or (hint,)
        if isinstance(option, type) and (option is bool or issubclass(option, StrEnum))
    )
    return frozenset(hints), converts
