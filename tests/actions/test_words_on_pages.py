"""What a page refuses is said in words of people who neither run the service nor write programs."""

from __future__ import annotations

import re

import pytest

from . import test_refusals, test_refused_options, test_refused_sending
from .conftest import Refusal

REFUSALS: dict[str, Refusal] = {
    **test_refusals.REFUSALS,
    **test_refused_options.REFUSALS,
    **test_refused_sending.REFUSALS,
}
# A field of the API or a key of the configuration (`rate_limit`, `limits.webhooks`), an option, a command.
_FOREIGN = re.compile(
    r"\b[a-z]+_[a-z_]+\b|(?<![\w-])--[a-z]|\b(?:limits|delivery|admin|egress|retention)\.[a-z]+|almirant-webhooks"
)
# What stands in quotes or in braces is what was typed, or an id; event types are known to whoever subscribes to them.
_TYPED = re.compile(r"'[^']*'|\{\w+\}|\bwork_item\.\w+|\b(?:proj|wh|dlv|rsd|evt|whsec)_\w*")


@pytest.mark.parametrize("what", [what for what, refusal in REFUSALS.items() if refusal.page is not None])
def test_no_page_names_an_option_a_field_or_a_key(what: str) -> None:
    """Commands may add what to do there (`Refusal.way`)."""
    assert _FOREIGN.findall(_TYPED.sub("", REFUSALS[what].sentence)) == []
