"""What a webhook can be told beside its URL, events and secret: the rule of each option, the same at every face.

A new option is a field of `model.Options` and of `model.Webhook`, and a rule here; `docs/architecture.md` has the
rest of its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from ..model import OPTIONS, Options, Refused
from . import values

MAX_CONCURRENCY = 64


def concurrency(value: str | int) -> int:
    """Return how many requests to a webhook may be under way at once, 1 to 64, or raise `Refused`."""
    return values.whole(str(value), "concurrency", 1, MAX_CONCURRENCY)


_RULES: Mapping[str, Callable[[Any], object]] = {"concurrency": concurrency}


def check(given: Mapping[str, object]) -> tuple[Options, list[Refused]]:
    """Return the options that were given as they are stored, and what is wrong with the others.

    None takes an option away, and so is never wrong. What is not given stays as it is.
    """
    checked: dict[str, object] = {}
    refusals = []
    for name in OPTIONS:
        if name in given:
            try:
                checked[name] = None if given[name] is None else _RULES[name](given[name])
            except Refused as refused:
                refusals.append(refused)
    return cast("Options", checked), refusals
