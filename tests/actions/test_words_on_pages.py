"""What a page refuses is said in words of people who neither run the service nor write programs."""

from __future__ import annotations

import re

import pytest

from almirant_webhooks.rules import stored_texts

from ..support import catalogues
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
_OF_OPERATORS = re.compile(
    r"(?<![\w-])--[a-z]|(?<!almirant\.)\b(?:limits|delivery|admin|egress|retention|outbox|database|pages)\.[a-z_]+|almirant-webhooks"
)
# Of those that stand behind words that an admin passes by: "With the operator's token", "For who runs the service".
_APART = ("Who runs the service has it:", "The pages answer at")
# What stands in quotes or in braces is what was typed, or an id; event types are known to whoever subscribes to them.
_TYPED = re.compile(r"'[^']*'|\{\w+\}|\bwork_item\.\w+|\b(?:proj|wh|dlv|rsd|evt|whsec)_\w*")


@pytest.mark.parametrize("what", [what for what, refusal in REFUSALS.items() if refusal.page is not None])
def test_no_page_names_an_option_a_field_or_a_key(what: str) -> None:
    """Commands may add what to do there (`Refusal.way`)."""
    assert _FOREIGN.findall(_TYPED.sub("", REFUSALS[what].sentence)) == []


@pytest.mark.long
def test_no_text_that_a_page_can_show_says_a_key_of_the_configuration_or_a_command() -> None:
    """Of pages, rules, actions and statements; rejected rows alone are told of by the names of their columns, for who inserted them."""
    shown = [
        form
        for message in catalogues.messages(catalogues.extracted("messages"))
        for form in catalogues.forms(message.id)
    ]
    assert len(shown) > 1000
    texts = [*shown, *(str(text) for text in stored_texts.KNOWN)]
    assert [text for text in texts if _OF_OPERATORS.search(text) and not text.startswith(_APART)] == []


def test_a_text_of_rows_of_before_is_said_in_the_words_of_now() -> None:
    """They named a key of the configuration."""
    before = stored_texts.recognised("held longer than retention.held")
    assert before in stored_texts.KNOWN
