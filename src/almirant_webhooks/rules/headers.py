"""The further request headers that a webhook can be told: their rule, and how a change meets those that are stored.

Values are secrets: no sentence of a refusal has one, nor a name that breaks the rule, which may be a value in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..model import MASK, Headers, Refused
from .texts import Text

MAX_HEADERS = 20
MAX_NAME = 64  # characters
MAX_VALUE = 2048  # characters
_NAME = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{MAX_NAME}}}")  # RFC 9110, section 5.6.2
_VALUE = re.compile(rf"[!-~](?:[ -~]{{0,{MAX_VALUE - 2}}}[!-~])?")
_NOT_FREE = frozenset(
    (
        "host",
        "connection",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
        "user-agent",
        "cookie",
        "forwarded",
    )
)
_NOT_FREE_FAMILIES = ("content-", "proxy-", "x-forwarded-", "x-almirant-", "webhook-")
_FIELD = "headers"

Pairs = Mapping[str, object] | Iterable[tuple[str, object]]


def check(pairs: Pairs) -> dict[str, str | None]:
    """Return headers by name as people may give them, or raise `Refused`. None takes one away, the mask keeps its value."""
    listed = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    if len(listed) > 2 * MAX_HEADERS:  # as many as can be taken away and added at once
        raise _too_many()
    checked: dict[str, str | None] = {}
    names: set[str] = set()
    for place, (name, value) in enumerate(listed, 1):
        _check_name(name, place)
        if name.lower() in names:
            raise Refused(
                Text("The header {name} is given twice; names that differ in case alone are the same.", name=name),
                _FIELD,
            )
        names.add(name.lower())
        checked[name] = _checked_value(name, value)
    if sum(value is not None for value in checked.values()) > MAX_HEADERS:
        raise _too_many()
    return checked


def _too_many() -> Refused:
    return Refused(Text("A webhook has at most {max_headers} headers of its own.", max_headers=MAX_HEADERS), _FIELD)


def _check_name(name: str, place: int) -> None:
    if not _NAME.fullmatch(name):
        raise Refused(
            Text(
                "Header {place} has no name that a header can have: 1 to {max_name} letters, digits and !#$%&'*+-.^_`|~ (RFC 9110), then a colon in a command.",
                place=place,
                max_name=MAX_NAME,
            ),
            _FIELD,
        )
    lower = name.lower()
    if lower in _NOT_FREE or lower.startswith(_NOT_FREE_FAMILIES):
        raise Refused(
            Text(
                "The header {name} cannot be chosen: it belongs to the connection, to a proxy, or to what every request has.",
                name=name,
            ),
            _FIELD,
        )


def _checked_value(name: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and _VALUE.fullmatch(value)):
        return value
    if not isinstance(value, str):
        why = Text("text, or null to take the header away")
    elif not value:
        why = Text("of one character at least; to take a header away, leave out its name too")
    elif len(value) > MAX_VALUE:
        why = Text("of at most {most:,} characters; this one has {length:,}", most=MAX_VALUE, length=len(value))
    elif value != value.strip():
        why = Text("without a blank or a line break before or after it")
    else:
        why = Text("of visible ASCII characters, with spaces between them alone")
    raise Refused(Text("The value of the header {name} must be {why}.", name=name, why=why), _FIELD)


def merge(stored: Headers, change: Mapping[str, str | None] | None) -> Headers:
    """Return what a checked change makes of the stored headers, or raise `Refused`. None takes all away."""
    if change is None:
        return ()
    merged = {name.lower(): (name, value) for name, value in stored}
    for name, value in change.items():
        key = name.lower()
        if value is None:
            merged.pop(key, None)
        elif value != MASK:
            merged[key] = (name, value)
        elif key in merged:
            merged[key] = (name, merged[key][1])
        else:
            raise Refused(
                Text(
                    "The header {name} has no value yet that {mask} could stand for; give its value.",
                    name=name,
                    mask=MASK,
                ),
                _FIELD,
            )
    if len(merged) > MAX_HEADERS:
        raise _too_many()
    return tuple(merged.values())


def masked(headers: Headers) -> dict[str, str] | None:
    """Return headers as everybody may see them: their names, and the mask for each value. None for no headers."""
    return {name: MASK for name, _ in headers} or None


def together(ours: Headers, webhooks: Headers) -> Headers:
    """Return all headers of a request: ours, and a webhook's after them, which take the place of ours of the same name."""
    if not webhooks:
        return ours
    names = {name.lower() for name, _ in webhooks}
    return (*(header for header in ours if header[0].lower() not in names), *webhooks)
