"""How a rate limit is written: what counts as one, and what does not."""

from __future__ import annotations

import pytest

from almirant_webhooks.rules import rates
from almirant_webhooks.rules.rates import Rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1/s", Rate(1, 1)), ("10/s", Rate(10, 1)), ("300/m", Rate(300, 60)), ("10000/h", Rate(10_000, 3600))],
)
def test_a_rate_is_a_number_and_a_unit(text: str, rate: Rate) -> None:
    assert rates.parse(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "0/s", "10001/h", "1e9/s", "10/fortnight", "10/S", "10/d", "-1/s", "+1/s", "1.5/s", "01/s", "10 /s", "10/s ",
     "10/s\n", "10", "/s", "10/", "10s", "10/s/s", "١٠/s", "１０/s", "9" * 400 + "/s", "10/\0s"],
)  # fmt: skip
def test_anything_else_is_none(text: str) -> None:
    assert rates.parse(text) is None
