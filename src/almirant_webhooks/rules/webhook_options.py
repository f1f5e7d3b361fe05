"""What a webhook can be told beside its URL, events and secret: the rule of each option, the same at every face.

A new option is a field of `model.Options` and of `model.Webhook`, and a rule here; `docs/architecture.md` has the
rest of its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import headers, values

MAX_CONCURRENCY = 64


def concurrency(value: str | int) -> int:
    """Return how many requests to a webhook may be under way at once, 1 to 64, or raise `Refused`."""
    return values.whole(str(value), "concurrency", 1, MAX_CONCURRENCY)


_RULES: Mapping[str, Callable[[Any], object]] = {"concurrency": concurrency, "headers": headers.check}


def check(name: str, value: object) -> object:
    """Return an option's value as it is stored, or raise `Refused`. None takes an option away, and so is never wrong."""
    return None if value is None else _RULES[name](value)
