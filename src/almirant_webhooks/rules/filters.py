"""Filters: which of its events a webhook gets, beyond their type. A filter is a list of conditions that must all hold."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from ..model import Condition, Filter, Refused
from . import conditions, paths
from .bodies import Body
from .comparing import decimal_of, is_equal, plain_of
from .paths import Number, Value
from .texts import Text

MAX_CONDITIONS = 20
MAX_BYTES = 16 * 1024  # of a filter's JSON
MAX_WORDS = 200  # characters of a condition that are kept with an event
UNREADABLE = "its filter cannot be read: set it anew"
_HOLD_WHERE_MISSING = ("!=", "not in", "not exists")


def check(value: object) -> Filter | None:
    """Return a filter as it is stored, from conditions as people or programs write them, or raise `Refused`.

    Of no conditions there is no filter: every event fulfils them.
    """
    if not isinstance(value, list | tuple):
        raise Refused(Text('filter must be a list of conditions, each {"field", "op", "value"}.'), "filter")
    if not value:
        return None
    if len(value) > MAX_CONDITIONS:
        raise Refused(
            Text("A filter has at most {max_conditions} conditions.", max_conditions=MAX_CONDITIONS), "filter"
        )
    checked = [conditions.check(condition, number) for number, condition in enumerate(value, 1)]
    if len(text_of(checked).encode()) > MAX_BYTES:
        raise Refused(Text("A filter has at most {max_bytes} KiB as JSON.", max_bytes=MAX_BYTES // 1024), "filter")
    return checked


def text_of(value: Filter) -> str:
    """Return the JSON by which a filter is stored."""
    return json.dumps(value, ensure_ascii=False)


def of_text(text: str) -> Filter:
    """Return a stored filter."""
    value: Filter = json.loads(text)
    return value


def words(value: Filter) -> str:
    """Return a filter in words, its conditions as people write them by command."""
    return "; ".join(map(conditions.words, value))


Holds = Callable[[Value, Body], bool]


class _Test(NamedTuple):
    path: paths.Path
    holds: Holds
    words: str


class Compiled:
    """A filter, ready to be asked about any number of bodies; a question takes time linear in its conditions."""

    def __init__(self, tests: Sequence[_Test]) -> None:
        self._tests = tests

    def unmet(self, body: Body) -> str | None:
        """Return in words the first condition that does not hold for a body, None where the webhook gets the event."""
        for path, holds, condition_words in self._tests:
            if not holds(paths.look_up(body.root, path), body):
                return condition_words
        return None


@lru_cache(maxsize=1024)
def compiled(text: str) -> Compiled:
    """Return a stored filter. One that cannot be read lets nothing through, and says so: it was not written here."""
    try:
        written = paths.read(text)
        values = [condition.get("value") for condition in written]
        return Compiled(list(map(_test, check(written) or (), values)))
    except (ValueError, TypeError, KeyError, AttributeError, Refused):
        return Compiled([_Test((), lambda *_: False, UNREADABLE)])


def _test(condition: Condition, value: Value) -> _Test:
    """Return the test of a condition; `value` is its value as `paths.read` has it."""
    text = conditions.words(condition)
    if len(text) > MAX_WORDS:
        text = f"{text[:MAX_WORDS]}…"
    op = condition["op"]
    holds = _OPERATORS[op](value)
    return _Test(
        paths.parse(condition["field"], "filter"), _where_missing(holds, missing=op in _HOLD_WHERE_MISSING), text
    )


def _where_missing(holds: Holds, *, missing: bool) -> Holds:
    return lambda value, body: missing if value is paths.MISSING else holds(value, body)


def _equal(wanted: Value) -> Holds:
    if type(wanted) is Number:
        return _ordered(operator.eq)(wanted)
    return lambda value, _: is_equal(value, wanted)


def _among(wanted: Sequence[Value]) -> Holds:
    plain = {plain_of(item) for item in wanted if not isinstance(item, list | dict)}
    nested = [item for item in wanted if isinstance(item, list | dict)]

    def is_among(value: Value, _: Body) -> bool:
        if isinstance(value, list | dict):
            return any(is_equal(value, item) for item in nested)
        return plain_of(value) in plain

    return is_among


def _contains(wanted: Value) -> Holds:
    def contains(value: Value, body: Body) -> bool:
        if type(value) is list:
            return body.contains(value, wanted)
        return type(value) is str and type(wanted) is str and wanted in value

    return contains


def _ordered(compare: Callable[[Value, Value], bool]) -> Callable[[Value], Holds]:
    def order(wanted: Value) -> Holds:
        if type(wanted) is Number:
            number = decimal_of(wanted)
            return lambda value, _: type(value) is Number and compare(decimal_of(value), number)
        return lambda value, _: type(value) is str and compare(value, wanted)

    return order


def _text(compare: Callable[[str, str], bool]) -> Callable[[str], Holds]:
    return lambda wanted: lambda value, _: type(value) is str and compare(value, wanted)


def _not(test: Callable[[Value], Holds]) -> Callable[[Value], Holds]:
    def opposite(wanted: Value) -> Holds:
        holds = test(wanted)
        return lambda value, body: not holds(value, body)

    return opposite


_OPERATORS: Mapping[str, Callable[[Value], Holds]] = {
    "=": _equal,
    "!=": _not(_equal),
    "in": _among,
    "not in": _not(_among),
    "contains": _contains,
    "starts with": _text(str.startswith),
    "ends with": _text(str.endswith),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    "exists": lambda _: lambda *_: True,
    "not exists": lambda _: lambda *_: False,
}
