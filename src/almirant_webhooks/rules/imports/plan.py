"""A plan of webhooks, whichever service they come from, and what is the same in reading each of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...model import Refused
from ..rates import MAX_RATE
from .document import Node

MAX_WEBHOOKS = 10_000
MAX_ID = 256  # characters
# The event's own payload, as the others send it, in place of the body that has it as `data`.
PAYLOAD_ALONE = "{{ data }}"
_ENVELOPE = "Its body is ours (--envelope): an object with id, type, timestamp, projectId, and the payload as data."
_ONE_LINE = re.compile(r"[\x00-\x1f\s]+")
_UNITS = {1: "s", 60: "m", 3600: "h"}  # by their seconds


class Choices(NamedTuple):
    """What is asked for beside the file: one project for all, event types under other names, and our own body."""

    project_id: str | None = None
    renamed: Mapping[str, str] = {}
    envelope: bool = False


@dataclass(slots=True)
class Planned:
    """A webhook as it would be made, of the thing at `place` that is known there as `origin`.

    `lost` says what has no equal here and changes nothing that is sent; `differs` what would have the receiver get other
    requests, so that the webhook is made disabled; `receiver` what the receiver has to change.
    """

    place: str
    origin: str
    project_id: str
    url: str
    events: tuple[str, ...]
    secret: str | None
    why_unsigned: str = ""  # why there is none
    description: str = ""
    enabled: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    receiver: str = ""


class Skipped(NamedTuple):
    """Something in the file that is no webhook here, and why."""

    place: str
    origin: str
    reason: str


@dataclass(slots=True)
class Plan:
    """What a file would make, what it would not, and the event types that it lists. Raises `Refused` while it is filled."""

    webhooks: list[Planned] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    event_types: tuple[str, ...] = ()
    _places: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, planned: Planned) -> None:
        """Add a webhook; refused for the second one of an id, and for more than can be imported at once."""
        key = (planned.project_id, planned.origin)
        first = self._places.setdefault(key, planned.place)
        if first != planned.place:
            raise Refused(f"{planned.place}: its id is there already, at {first}.", "file")
        if len(self.webhooks) >= MAX_WEBHOOKS:
            raise Refused(
                f"{planned.place}: the file has more than {MAX_WEBHOOKS:,} webhooks; split it, by application say.",
                "file",
            )
        self.webhooks.append(planned)


def renamed(types: Sequence[str], choices: Choices) -> tuple[str, ...]:
    """Return event types under the names that they are to have here."""
    return tuple(dict.fromkeys(choices.renamed.get(name, name) for name in types))


def one_line(text: str) -> str:
    """Return a description as ours are: one line of at most 500 characters."""
    return _ONE_LINE.sub(" ", text).strip()[:500].rstrip()


def set_rate(planned: Planned, count: int, seconds: int) -> None:
    """Set a rate limit of `count` in so many seconds, or the nearest one that the average keeps to."""
    if count <= 0 or seconds <= 0:
        return
    span = seconds if seconds in _UNITS else next((unit for unit in _UNITS if count * unit >= seconds), max(_UNITS))
    most = max(count * span // seconds, 1)
    rate = f"{min(most, MAX_RATE)}/{_UNITS[span]}"
    planned.options["rate_limit"] = rate
    if seconds != span or most > MAX_RATE:
        planned.lost.append(f"{count} requests in {seconds} s cannot be said here, and became {rate}.")


def set_header(planned: Planned, name: str, value: str) -> None:
    """Add a further request header."""
    planned.options.setdefault("headers", {})[name] = value


def set_body(planned: Planned, choices: Choices) -> None:
    """Have the payload alone sent, as the others do, unless our own body is asked for."""
    if choices.envelope:
        planned.receiver += f" {_ENVELOPE}"
    else:
        planned.options["template"] = PAYLOAD_ALONE


def items_of(node: Node, *inner: str) -> list[Node]:
    """Return the items of a list, or of an answer of an API that has it under one of the names `inner`."""
    if node.is_list:
        return node.items()
    for name in inner:
        found = node.get(name)
        if found is not None:
            return found.items() if found.is_list else items_of(found, *inner)
    return node.refuse(f"it must be a list, or an answer that has one as {' or '.join(inner)}.")
