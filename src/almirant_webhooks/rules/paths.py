"""Paths into the body of an event, as filters and templates have them, and the values that they lead to.

A path is keys with dots between them: `data.workItem.title`, `data.tags.0` for the first item of an array. A key with
dots, quotes, brackets, braces or blanks is written as `["a.b"]`: `data["a.b"].c`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeAlias

from ..model import Refused
from .texts import Text

Path = tuple[str, ...]
# What `read` makes of JSON: dict, list, str, Number, bool or None.
Value: TypeAlias = Any

MAX_LENGTH = 1024  # characters of a path
MAX_PARTS = 64
_SHOWN = 60  # characters of a path that a sentence repeats
# A key as it is, or in brackets as a JSON string.
_PART = re.compile(r"""(?P<bare>[^\s.\[\]{}"'\\]+)|\[(?P<quoted>"(?:[^"\\\x00-\x1f]|\\.)*")\]""")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_TOKEN = re.compile(r'[ \t\n\r]*(?:([{}\[\],:])|("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*)|(true|false|null))', re.DOTALL)


class Number(str):
    """A number as the producer spelled it. It is no text: look for it before `str`."""

    __slots__ = ()


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()  # what a path leads to where there is nothing
_WORDS = {"true": True, "false": False, "null": None}


def _no_number(word: str) -> Value:
    raise ValueError(Text("{word} is not JSON", word=word))


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_no_number, strict=False)


def parse(text: str, field: str) -> Path:
    """Return the keys of a path, or raise `Refused`, which names `field` and says where the path is wrong."""
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    if len(text) > MAX_LENGTH:
        raise Refused(
            Text("The path {shown!r} is longer than {max_length:,} characters.", shown=shown, max_length=MAX_LENGTH),
            field,
        )
    parts: list[str] = []
    at = 0
    while True:
        part = _PART.match(text, at)
        if part is None:
            raise Refused(Text("The path {shown!r} {why_not}", shown=shown, why_not=_why_not(text, at)), field)
        parts.append(part["bare"] if part["quoted"] is None else _key(part["quoted"], shown, field))
        at = part.end()
        if at == len(text):
            break
        if text[at] == ".":
            at += 1
        elif text[at] != "[":
            raise Refused(Text("The path {shown!r} {why_not}", shown=shown, why_not=_why_not(text, at)), field)
    if len(parts) > MAX_PARTS:
        raise Refused(
            Text(
                "The path {shown!r} has {parts:,} keys; {max_parts} is the most.",
                shown=shown,
                parts=len(parts),
                max_parts=MAX_PARTS,
            ),
            field,
        )
    return tuple(parts)


def _key(quoted: str, shown: str, field: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        raise Refused(
            Text("In the path {shown!r} a key in brackets is not a JSON string.", shown=shown), field
        ) from None


def _why_not(text: str, at: int) -> Text:
    """Say what is wrong with a path at a place where no key could be read."""
    if not text.strip():
        return Text("is empty: give the keys that lead to a value, such as data.workItem.title.")
    if at == len(text) or text[at] == ".":
        return Text(
            "has an empty key at character {place}: put one dot between two keys, and none at the ends.", place=at + 1
        )
    return Text(
        "cannot be read at character {place}: put dots between keys, and write a key with dots, quotes, brackets or blanks "
        'as ["a.b"].',
        place=at + 1,
    )


def read(body: str) -> Value:
    """Return the value of a JSON text: numbers keep their spelling, of a doubled key the last counts.

    Returns `MISSING` for a text that is not JSON. However deep a text is, it can be read.
    """
    try:
        return _DECODER.decode(body)
    except RecursionError:
        return _read_deep(body)
    except ValueError:
        return MISSING


def look_up(root: Value, path: Path) -> Value:
    """Return what a path leads to, or `MISSING`. An index that leads into an array counts from 0."""
    value = root
    for key in path:
        if type(value) is dict:
            value = value.get(key, MISSING)
        elif type(value) is list and _INDEX.fullmatch(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def _read_deep(body: str) -> Value:
    """Read a JSON text that is deeper than the decoder goes, without recursion."""
    root: list[Value] = []
    above: list[Value] = []
    inside: Value = root
    key: str | None = None
    at = 0
    while token := _TOKEN.match(body, at):
        mark, quote, number, word = token.groups()
        at = token.end()
        if mark in (",", ":"):
            continue
        if mark in ("}", "]"):
            if not above:
                return MISSING
            inside = above.pop()
            continue
        value: Value = Number(number) if number else _WORDS.get(word)
        if quote:
            value = _DECODER.decode(quote)
            if type(inside) is dict and key is None:
                key = value
                continue
        elif mark:
            value = {} if mark == "{" else []
        if type(inside) is dict:
            inside[key] = value
            key = None
        else:
            inside.append(value)
        if mark:
            above.append(inside)
            inside = value
    return root[0] if root and not above and not body[at:].strip() else MISSING
