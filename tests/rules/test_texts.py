"""Texts that are English to whoever takes them as they are, and can be said in another language."""

from __future__ import annotations

import copy

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Refused
from almirant_webhooks.rules.sentences import At
from almirant_webhooks.rules.stored_texts import recognised
from almirant_webhooks.rules.texts import Cased, Text, amount, listed, plural, sentences
from almirant_webhooks.rules.values import time


def test_a_text_is_the_english_that_it_was_always() -> None:
    """For commands, the API and rows of the database."""
    text = Text("The path {shown!r} has {parts:,} keys; {most} is the most.", shown="a.b", parts=1200, most=64)
    assert text == "The path 'a.b' has 1,200 keys; 64 is the most."
    assert type(str(text)) is str
    assert text.msgid == "The path {shown!r} has {parts:,} keys; {most} is the most."
    assert text.parts == {"shown": "a.b", "parts": 1200, "most": 64}


def test_braces_of_a_text_without_parts_are_just_braces() -> None:
    """As in a sentence about templates."""
    assert Text("It is not closed: }} is missing.") == "It is not closed: }} is missing."


def test_a_plural_goes_by_its_number() -> None:
    """One is one; everything else is several."""
    words = [plural("{number:,} event", "{number:,} events", number) for number in (0, 1, 2, 1000)]
    assert words == ["0 events", "1 event", "2 events", "1,000 events"]
    assert {(word.msgid, word.plural) for word in words} == {("{number:,} event", "{number:,} events")}
    assert plural("{number} waits", "{number} wait", 1000, number=amount(1000, more=True)) == "1,000+ wait"


def test_texts_are_joined_and_begin_as_their_place_asks_for() -> None:
    """What stands within a sentence begins with a small letter."""
    assert listed([Text("one"), Text("two"), Text("three")]) == "one, two, three"
    assert sentences([Text("one"), Text("two")]) == "one; two"
    assert listed([Text("one")]) == "one"
    assert Cased(Text("The path is empty."), str.lower) == "the path is empty."
    assert Cased(Text("the attempt"), str.upper) == "The attempt"


def test_a_copy_of_a_text_can_be_said_in_another_language_too() -> None:
    """It keeps what it was made of."""
    text = copy.deepcopy(plural("{number} since {at}", "{number} since {at}", 2, at=At("2026-11-24T21:16:51.000Z")))
    assert (text.msgid, text.number, str(text)) == ("{number} since {at}", 2, "2 since 2026-11-24T21:16:51.000Z")
    cased = copy.deepcopy(Cased(Text("The path has {most} keys.", most=64), str.lower))
    assert (cased, cased.msgid) == ("the path has 64 keys.", "{text}")
    inner = cased.parts["text"]
    assert isinstance(inner, Text)
    assert (inner.msgid, inner.parts) == ("The path has {most} keys.", {"most": 64})


def test_a_stored_text_is_found_again_in_its_parts() -> None:
    """However they are put together; what is not known stands for itself."""
    reason = "nothing but failures since 2026-11-24T21:16:51.000Z, the last one: no answer within 10 s"
    text = recognised(reason)
    assert text == reason
    cause = text.parts["cause"]
    assert isinstance(cause, Text)
    assert (cause.msgid, cause.parts) == ("no answer within {seconds} s", {"seconds": "10"})
    assert recognised("something of OpenSSL’s {x} %s").msgid == "something of OpenSSL’s {x} %s"
    assert recognised("").msgid == ""


@pytest.mark.parametrize("words", [" is out of range" * 500, " is not " * 500 + "(byte " * 300])
def test_somebodys_own_words_are_not_taken_apart(words: str) -> None:
    """However they are made up, a text of theirs is one text: looking for forms in it neither fails nor takes long."""
    assert recognised(words).parts == {}
    with pytest.raises(Refused) as refused:
        time(words, "since", clock.now())
    assert refused.value.field == "since"


def test_a_number_of_a_stored_text_is_a_number() -> None:
    """What has other words in its place is another text."""
    assert recognised("payload is larger than 256 KiB (300000 bytes)").parts == {"most": "256", "size": "300000"}
    assert recognised("it is not so (byte by byte)").parts == {}
