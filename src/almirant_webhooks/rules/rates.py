"""How many attempts may begin within a second, a minute or an hour, as `10/s`, `300/m` or `5000/h` says."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_RATE = 10_000
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_RATE = re.compile(r"([1-9][0-9]{0,4})/([smh])")


class Rate(NamedTuple):
    """At most so many attempts in any span of so many seconds."""

    most: int
    seconds: int


def parse(text: str) -> Rate | None:
    """Return the rate that a text such as `10/s` stands for, or None if it stands for none."""
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) > MAX_RATE:
        return None
    return Rate(int(match[1]), _SECONDS[match[2]])
