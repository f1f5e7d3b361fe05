"""What a webhook can be told beside its URL, events and secret: the rule of each option, the same at every face.

A new option is a field of `model.Options` and of `model.Webhook`, and a rule here; `docs/architecture.md` has the
rest of its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..model import Refused
from . import filters, headers, rates, templates, values
from .texts import Text

MAX_CONCURRENCY = 64


def concurrency(value: str | int) -> int:
    """Return how many requests to a webhook may be under way at once, 1 to 64, or raise `Refused`."""
    return values.whole(str(value), "concurrency", 1, MAX_CONCURRENCY)


def rate_limit(value: str) -> str:
    """Return how many attempts may begin within a second, a minute or an hour, or raise `Refused`."""
    if rates.parse(value) is None:
        raise Refused(
            Text(
                "A rate limit is a whole number from 1 to {max_rate}, a slash, and s, m or h for a second, a minute or an hour: 10/s, 300/m or 5000/h.",
                max_rate=rates.MAX_RATE,
            ),
            "rate_limit",
        )
    return value


def ordered(value: str | bool) -> bool | None:
    """Return True for deliveries one after the other, and None for any order, or raise `Refused`."""
    if str(value).lower() not in ("true", "false"):
        raise Refused(Text("ordered must be true or false."), "ordered")
    return str(value).lower() == "true" or None


_RULES: Mapping[str, Callable[[Any], object]] = {
    "filter": filters.check,
    "concurrency": concurrency,
    "headers": headers.check,
    "rate_limit": rate_limit,
    "template": templates.check,
    "ordered": ordered,
}


def check(name: str, value: object) -> object:
    """Return an option's value as it is stored, or raise `Refused`. None takes an option away, and so is never wrong."""
    return None if value is None else _RULES[name](value)


def check_together(options: Mapping[str, object]) -> None:
    """Raise `Refused` for options that contradict each other; `options` has the values of all that a webhook is told."""
    at_once = options.get("concurrency")
    if options.get("ordered") and isinstance(at_once, int) and at_once > 1:
        raise Refused(
            Text(
                "An ordered webhook sends one delivery after the other, and concurrency asks for {at_once} at once. Take concurrency away, or set it to 1.",
                at_once=at_once,
            ),
            "ordered",
        )
