"""A file of JSON as it is read for an import: each value with its place in the file, and words for what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from ...model import Refused
from ..values import is_text

MAX_BYTES = 64 * 1024 * 1024
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a whole number"}
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}  # how a file of another encoding begins


class Node:
    """A value of the file and its place, as `$.applications[0].endpoints[2]`. `null` counts as not there."""

    __slots__ = ("_value", "place")

    def __init__(self, value: Any, place: str = "$") -> None:
        self._value = value
        self.place = place

    def refuse(self, why: str) -> NoReturn:
        """Raise `Refused` with the place and the reason; the reason never repeats a value, which may be secret."""
        raise Refused(f"{self.place}: {why}", "file")

    @property
    def is_list(self) -> bool:
        """Tell whether it is a list."""
        return isinstance(self._value, list)

    @property
    def is_object(self) -> bool:
        """Tell whether it is an object."""
        return isinstance(self._value, dict)

    def get(self, name: str) -> Node | None:
        """Return what an object has by a name, None where it is not there; refused where this is no object."""
        value = self._is(dict).get(name)
        return None if value is None else Node(value, f"{self.place}.{name}" if name.isidentifier() else self._in(name))

    def need(self, name: str) -> Node:
        """Return what an object has by a name; refused where it is not there."""
        return self.get(name) or self.refuse(f"{name} is missing.")

    def has(self, name: str) -> bool:
        """Tell whether an object has something by a name that is not empty."""
        value = self._is(dict).get(name)
        return value not in (None, "", 0, False) and value != [] and value != {}

    def is_null(self, name: str) -> bool:
        """Tell whether an object has `null` by a name, which is not the same as nothing."""
        fields = self._is(dict)
        return name in fields and fields[name] is None

    def members(self) -> Iterator[tuple[str, Node]]:
        """Yield the names of an object with what it has by them."""
        for name, value in self._is(dict).items():
            yield name, Node(value, self._in(name))

    def items(self) -> list[Node]:
        """Return what is in a list."""
        return [Node(value, f"{self.place}[{at}]") for at, value in enumerate(self._is(list))]

    def text(self, longest: int = 65_536) -> str:
        """Return a text that can be stored."""
        text: str = self._is(str)
        if not is_text(text):
            self.refuse("it holds a NUL or half of a surrogate pair, which is not text.")
        if len(text) > longest:
            self.refuse(f"it has {len(text):,} characters, and {longest:,} are the most.")
        return text

    def texts(self, longest: int = 256) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(item.text(longest) for item in self.items())

    def whole(self) -> int:
        """Return a whole number, as others keep them: in 64 bits at most."""
        number: int = self._is(int)
        if not -(2**63) <= number < 2**63:
            self.refuse("it is a number of more than 64 bits.")
        return number

    def flag(self) -> bool:
        """Return a truth value."""
        truth: bool = self._is(bool)
        return truth

    @property
    def value(self) -> Any:
        """The value as JSON has it, for what has a rule of its own."""
        return self._value

    def _is(self, kind: type) -> Any:
        if type(self._value) is not kind:
            found = _KINDS.get(type(self._value), "null" if self._value is None else "a number")
            self.refuse(f"it must be {_KINDS[kind]}, and is {found}.")
        return self._value

    def _in(self, name: str) -> str:
        shown = name if len(name) <= 64 else name[:64] + "…"
        return f"{self.place}[{json.dumps(shown)}]"


def optional_text(node: Node, name: str, longest: int = 65_536) -> str:
    """Return a text that an object has by a name, or an empty one."""
    found = node.get(name)
    return "" if found is None else found.text(longest)


def read(content: bytes) -> Node:
    """Return a file's JSON, or raise `Refused`, which says where it is wrong."""
    if len(content) > MAX_BYTES:
        raise Refused(f"The file has more than {MAX_BYTES // 1024**2} MiB; split it, by application say.", "file")
    if not content.strip():
        raise Refused("The file is empty.", "file")
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            raise Refused(f"The file is text in {name}; save it in UTF-8.", "file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"The file is not text in UTF-8: byte {error.start:,} cannot be read.", "file") from None
    try:
        return Node(json.loads(text, parse_constant=_no_constant))
    except json.JSONDecodeError as error:
        raise Refused(
            f"The file is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.", "file"
        ) from None
    except RecursionError:
        raise Refused("The file is nested too deeply to be an export.", "file") from None
    except ValueError as error:  # a number of thousands of digits
        raise Refused(f"The file has a number that cannot be read: {error}.", "file") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
