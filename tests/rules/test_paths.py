"""Paths into a body, and what they lead to."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.model import Refused
from almirant_webhooks.rules import paths
from almirant_webhooks.rules.paths import MISSING, Number

BODY = paths.read(
    '{"type": "x.y", "data": {"n": 1.50, "tags": ["a", {"b": null}], "a.b": {"c": true}, "": 1, "0": "zero", "d": 1, "d": -0}}'
)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("type", ("type",)),
        ("data.tags.0", ("data", "tags", "0")),
        ('data["a.b"].c', ("data", "a.b", "c")),
        ('data.["a.b"].c', ("data", "a.b", "c")),
        ('["a.b"]["c"]', ("a.b", "c")),
        (r'["say \"hi\""]', ('say "hi"',)),
        ('data[""]', ("data", "")),
        ("größe.日本-1_$", ("größe", "日本-1_$")),
    ],
)
def test_a_path_is_keys_with_dots_between_them(text: str, keys: tuple[str, ...]) -> None:
    """A key that has dots or quotes stands in brackets, as a JSON string."""
    assert paths.parse(text, "filter") == keys


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        (".", "empty key at character 1"),
        ("data..x", "empty key at character 6"),
        ("data.", "empty key at character 6"),
        (".data", "empty key at character 1"),
        ("data x", "cannot be read at character 5"),
        ('da"ta', "cannot be read at character 3"),
        ("data[0]", "cannot be read at character 5"),
        ('data["a"', "cannot be read at character 5"),
        ('data["a"]b', "cannot be read at character 10"),
        ('data["\\x"]', "not a JSON string"),
        ("a{{b", "cannot be read at character 2"),
        (".".join("a" * 65), "65 keys; 64 is the most"),
        (".".join("a" * 10_000), "longer than 1,024 characters"),
        ("a" * 1025, "longer than 1,024 characters"),
    ],
)
def test_a_wrong_path_is_refused_with_words_that_say_where(text: str, words: str) -> None:
    """However long it is, the sentence is short."""
    with pytest.raises(Refused, match=words.replace("[", r"\[")) as refused:
        paths.parse(text, "filter")
    assert refused.value.field == "filter"
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", "x.y"),
        ("data.n", Number("1.50")),
        ("data.tags.0", "a"),
        ("data.tags.1.b", None),
        ("data.tags.2", MISSING),
        ("data.tags.00", MISSING),
        ("data.tags.-1", MISSING),
        ("data.tags.999999999999", MISSING),
        ("data.0", "zero"),
        ('data["a.b"].c', True),
        ("data.a.b", MISSING),
        ('data[""]', Number("1")),
        ("data.d", Number("-0")),
        ("type.0", MISSING),
        ("data.n.0", MISSING),
        ("nothing.here", MISSING),
    ],
)
def test_a_path_leads_to_a_value_or_to_nothing(path: str, value: object) -> None:
    """Numbers keep their spelling; of a doubled key the last counts; a text and a number have no items."""
    found = paths.look_up(BODY, paths.parse(path, "filter"))
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", ["", "{", "[1,]", '{"a": NaN}', "-", "1 2", "\ufeff{}", "Infinity"])
def test_what_is_not_json_has_no_value(text: str) -> None:
    """Nothing is raised: the delivery loop reads what producers wrote."""
    assert paths.read(text) is MISSING


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a": [', "]}")])
def test_a_body_is_read_however_deep_it_is(begin: str, end: str) -> None:
    """It is read as any other: with all kinds of values in it."""
    value: Any = paths.read(begin * 3000 + r'"\u00e9", -1e5, {"k": true, "l": null}, []' + end * 3000)
    while (type(value) is list and len(value) == 1) or type(value) is dict:
        value = value["a"] if type(value) is dict else value[0]
    assert value == ["é", Number("-1e5"), {"k": True, "l": None}, []]
    assert paths.read(begin * 3000 + end * 2999) is MISSING
    assert paths.read(begin * 3000 + end * 3001) is MISSING


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_both_readers_read_the_same(value: object) -> None:
    """The one for deep bodies too."""
    text = json.dumps(value)
    assert paths._read_deep(text) == paths.read(text)


@given(st.text(), json_values)
def test_every_key_can_be_written_as_a_path(key: str, value: object) -> None:
    """As a JSON string in brackets."""
    body = paths.read(json.dumps({"data": {key: value}}))
    path = paths.parse(f"data[{json.dumps(key)}]", "filter") if len(json.dumps(key)) < 1000 else ("data", key)
    assert paths.look_up(body, path) == body["data"][key]


@given(st.text())
def test_any_text_is_a_path_or_is_refused(text: str) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(Refused):
        assert paths.parse(text, "filter")
