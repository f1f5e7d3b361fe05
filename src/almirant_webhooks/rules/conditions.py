"""The conditions of a filter: from what people write to `{"field", "op", "value"}`, and back to words.

A condition comes as a text (`data.workItem.priority in high,urgent`), as a row of the form, or as an object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from ..model import Condition, Refused
from . import comparing, paths
from .texts import Cased, Text
from .values import is_text

ORDERS = (">", ">=", "<", "<=")
LISTS = (Text("in"), Text("not in"))
WITHOUT_VALUE = (Text("exists"), Text("not exists"))
CONTAINS = Text("contains")
OPERATORS = ("=", "!=", *LISTS, CONTAINS, Text("starts with"), Text("ends with"), *ORDERS, *WITHOUT_VALUE)
_NAMED = {op: op for op in OPERATORS}  # the operator of a condition, as a page can say it
MAX_DEPTH = 16  # levels of a value
MAX_DIGITS = 100
_FIELD = re.compile(r"""(?:\["(?:[^"\\]|\\.)*"\]|[^\s=!<>])*""")  # what of a condition's text is its field
_BARE = re.compile(r"""[^\s.,=!<>\[\]{}"'\\]+""")  # a key that needs no brackets in a condition's text
_SHOWN = 40  # characters of what was written that a sentence repeats
_OPERATOR = re.compile(
    r"\s*(?:(>=|<=|!=|=|>|<)|(?<=\s)(not\s+in|in|contains|starts\s+with|ends\s+with|not\s+exists|exists)(?=\s|$))\s*"
)
_ITEM = re.compile(r'\s*("(?:[^"\\]|\\.)*"(?=\s*(?:,|$))|[^,]*)\s*(?:,|$)')
_NO_VALUE: Any = object()


class Typed(NamedTuple):
    """A condition as a form has it: each field as text."""

    field: str
    op: str
    value: str


class _Wrong(ValueError):
    """What is wrong with a condition, as a sentence."""


def check(condition: object, number: int) -> Condition:
    """Return a condition as it is stored, or raise `Refused`; `number` is its place in the filter, from 1."""
    try:
        if isinstance(condition, str):
            return _of_text(condition)
        if isinstance(condition, Typed):
            return _checked(condition.field.strip(), condition.op, _typed_value(condition.op, condition.value.strip()))
        if not isinstance(condition, Mapping):
            raise _Wrong(Text('it must be an object with "field", "op" and "value".'))
        for name in condition:
            if name not in ("field", "op", "value"):
                raise _Wrong(Text("there is no {name!r}; it has field, op and value.", name=_shorten(str(name))))
        op = condition.get("op")
        value = condition.get("value", _NO_VALUE)
        if op in WITHOUT_VALUE and value is None:
            value = _NO_VALUE
        return _checked(condition.get("field", ""), op, value)
    except _Wrong as wrong:
        raise Refused(Text("Condition {number}: {wrong}", number=number, wrong=wrong.args[0]), "filter") from None


def _of_text(text: str) -> Condition:
    text = text.strip()
    match = _FIELD.match(text)
    field = match.group() if match else ""
    _check_path(field)
    operator = _OPERATOR.match(text, len(field))
    if operator is None:
        raise _Wrong(
            Text(
                "behind {field!r} one of {operators} is expected, as in data.workItem.priority in high,urgent.",
                field=_shorten(field),
                operators=", ".join(OPERATORS),
            )
        )
    op = operator[1] or " ".join(operator[2].split())
    rest = text[operator.end() :]
    if op == "=" and rest.startswith("="):
        raise _Wrong(Text("the operator for equal is =, not ==."))
    return _checked(field, op, _typed_value(op, rest))


def _typed_value(op: str, text: str) -> Any:
    """Return the value that a text means: JSON if it parses, else the text; for a list its items, by comma or as JSON."""
    if not text:
        return _NO_VALUE
    if op not in LISTS:
        return _json_or_text(text)
    value = paths.read(text)
    if value is not paths.MISSING:
        return value if isinstance(value, list) else [value]
    items = [match[1].rstrip() for match in _ITEM.finditer(text) if match.end() > match.start()]
    if "" in items or text.endswith(","):
        raise _Wrong(Text('its list has an empty item; write "" for an empty text.'))
    return [_json_or_text(item) for item in items]


def _json_or_text(text: str) -> Any:
    value = paths.read(text)
    return text if value is paths.MISSING else value


def _checked(field: object, op: object, value: Any) -> Condition:
    if not isinstance(field, str):
        raise _Wrong(Text("field must be a text."))
    if not is_text(field):
        raise _Wrong(Text("field holds a NUL or half of a surrogate pair, which is not text."))
    field = _check_path(field)
    if op not in OPERATORS:
        raise _Wrong(Text("op must be one of {operators}.", operators=", ".join(OPERATORS)))
    assert isinstance(op, str)
    if op in WITHOUT_VALUE:
        if value is not _NO_VALUE:
            raise _Wrong(Text("{op} takes no value.", op=_NAMED[op]))
        return {"field": field, "op": op}
    if value is _NO_VALUE:
        raise _Wrong(Text('{op} needs a value; write "" for an empty text.', op=_NAMED[op]))
    value = _plain(value)
    _check_fits(op, value)
    return {"field": field, "op": op, "value": value}


def _check_path(text: str) -> str:
    """Return a path in the one spelling of it that a condition's text can have too; raises `_Wrong`."""
    try:
        spelled = "".join(map(_spell, paths.parse(text, "filter"))).removeprefix(".")
        paths.parse(spelled, "filter")  # escapes may have made it too long
    except Refused as refused:
        raise _Wrong(Cased(refused.message, str.lower)) from None
    return spelled


def _spell(key: str) -> str:
    is_seen = key.isprintable()
    return f".{key}" if is_seen and _BARE.fullmatch(key) else f"[{json.dumps(key, ensure_ascii=not is_seen)}]"


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _check_fits(op: str, value: Any) -> None:
    """Raise `_Wrong` for a value that an operator has no use for."""
    is_number = type(value) in (int, float)
    if op in LISTS and not (isinstance(value, list) and value):
        raise _Wrong(Text("{op} takes a list of one value at least.", op=_NAMED[op]))
    if op == "contains" and isinstance(value, list | dict):
        raise _Wrong(
            Text(
                "{op} takes a text, which is looked for in a text, or a value, which is looked for in an array.",
                op=CONTAINS,
            )
        )
    if op in ORDERS and not (is_number or isinstance(value, str)):
        raise _Wrong(Text("{op} takes a number or a text.", op=_NAMED[op]))
    if op in ("starts with", "ends with") and not isinstance(value, str):
        if is_number:
            quoted = json.dumps(json.dumps(value))[1:-1]
            raise _Wrong(Text("{op} takes a text; write {quoted} in quotes for a text.", op=_NAMED[op], quoted=quoted))
        raise _Wrong(Text("{op} takes a text.", op=_NAMED[op]))


def _plain(value: Any, depth: int = 1) -> Any:
    """Return a value in plain JSON's types, which keep it exactly; raises `_Wrong`."""
    if depth > MAX_DEPTH:
        raise _Wrong(Text("its value is nested deeper than {max_depth} levels.", max_depth=MAX_DEPTH))
    if isinstance(value, paths.Number):
        return _plain_number(comparing.decimal_of(value))
    if isinstance(value, str):
        if not is_text(value):
            raise _Wrong(Text("its value holds a NUL or half of a surrogate pair, which is not text."))
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item, depth + 1) for key, item in value.items()}
    if value is None or isinstance(value, bool):
        return value
    return _plain_number(Decimal(repr(value)) if isinstance(value, float) else Decimal(value))


def _plain_number(number: Decimal) -> int | float:
    """Return a number as every JSON reader gives it back, so that a filter that is read and saved stays the same."""
    if number.is_finite() and len(number.as_tuple().digits) <= MAX_DIGITS and abs(number.adjusted()) < 300:
        if number == number.to_integral_value() and number.adjusted() < MAX_DIGITS:
            return int(number)
        if Decimal(repr(float(number))) == number:
            return float(number)
    raise _Wrong(
        Text("a number has at most {max_digits} digits, and 15 where it has a fraction.", max_digits=MAX_DIGITS)
    )


def words(condition: Condition) -> str:
    """Return a condition as people write it by command."""
    begin = f"{condition['field']} {condition['op']}"
    if "value" not in condition:
        return begin
    value = condition["value"]
    if condition["op"] not in LISTS:
        return f"{begin} {_value_words(value)}"
    items = [_value_words(item) for item in value]
    is_plain = not any("," in item or item[0] in '"[{' for item in items)
    return f"{begin} {','.join(items)}" if is_plain else f"{begin} {json.dumps(value, ensure_ascii=False)}"


def said(condition: Condition) -> Text:
    """Return a condition as people read it: in English it is as they write it by command."""
    op, value = _NAMED[condition["op"]], value_text(condition)
    if not value:
        return Text("{field} {op}", field=condition["field"], op=op)
    return Text("{field} {op} {value}", field=condition["field"], op=op, value=value)


def recognised(text: str) -> Text:
    """Return a condition that was kept in words as `said` has it; one that was cut, or is none, stands for itself."""
    try:
        condition = said(_of_text(text))
    except _Wrong:
        return Text("{text}", text=text)
    return condition if condition == text else Text("{text}", text=text)


def value_text(condition: Condition) -> str:
    """Return what stands behind the operator in `words`, for a field of a form."""
    return words(condition)[len(f"{condition['field']} {condition['op']}") :].strip()


def _value_words(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.isprintable() and value and value == value.strip() and value[0] not in '="[{':
        return value if type(_json_or_text(value)) is str else text
    return text
