"""Templates: what a webhook is sent in place of an event's own body is JSON, whatever the event holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from almirant_webhooks.model import Refused
from almirant_webhooks.rules import templates
from almirant_webhooks.rules.event_types import CATALOGUE
from almirant_webhooks.rules.templates import CannotRender

BODY = (
    '{"id": "evt_1", "type": "work_item.moved", "data": {"title": "say \\"hi\\" \\\\ <b>", "n": 1.50, "big": 1e400, "yes": true, '
    '"none": null, "tags": ["a", "b"], "from": {"x":  1, "y": [ ]}, "a.b": "dotted", "n": -0.0, "e": "\\u00e9\\n"}}'
)


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ('{"text": "{{ data.title }}"}', '{"text": "say \\"hi\\" \\\\ <b>"}'),
        ('{"text": "{{data.title}}{{ type }}!"}', '{"text": "say \\"hi\\" \\\\ <b>work_item.moved!"}'),
        ('{"t": {{ data.title }}}', '{"t": "say \\"hi\\" \\\\ <b>"}'),
        ('[{{ data.n }}, "{{ data.n }}", {{ data.big }}]', '[-0.0, "-0.0", 1e400]'),
        ('[{{ data.yes }}, "{{ data.yes }}", {{ data.none }}, "{{ data.none }}"]', '[true, "true", null, "null"]'),
        ('["[{{ data.absent.deep }}]", {{ data.absent.deep }}]', '["[]", null]'),
        (
            '{"from": {{ data.from }}, "s": "{{ data.from }}"}',
            '{"from": {"x":1,"y":[]}, "s": "{\\"x\\":1,\\"y\\":[]}"}',
        ),
        ('"{{ data.tags.1 }} {{ data.tags.7 }}"', '"b "'),
        ('"{{ data["a.b"] }}"', '"dotted"'),
        (r'"{{ data[\"a.b\"] }}"', '"dotted"'),
        ('{{ data["a.b"] }}', '"dotted"'),
        ('"{{ "{{" }} type }}"', '"{{ type }}"'),
        (r'"{{ \"{{\" }} type }}"', '"{{ type }}"'),
        ('{"{{ "{{" }}": 1}', '{"{{": 1}'),
        ('{"a": {"b": {{ data.e }}}}', '{"a": {"b": "é\\n"}}'),
        ('{"a": "} }} {x} :"}', '{"a": "} }} {x} :"}'),
        ("{{ data.tags }}", '["a","b"]'),
        ("12", "12"),
        ('  {"a": 1}\n', '{"a": 1}'),
        (r'"\"{{ type }}\\"', r'"\"work_item.moved\\"'),
    ],
)
def test_a_placeholder_becomes_text_in_a_string_and_json_in_place_of_a_value(template: str, rendered: str) -> None:
    """What is not there is nothing or `null`; numbers keep their spelling; what surrounds placeholders stays as it is."""
    assert templates.render(templates.check(template), BODY) == rendered
    json.loads(rendered)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("hello", "There is no ready template 'hello'"),
        ("Hello", "not JSON at line 1, column 1: expecting value"),
        ('{"text": "a" "b"}', "not JSON at line 1, column 14"),
        ('{\n "a": 1,\n}', "not JSON at line"),
        ('\ufeff{"a": 1}', "byte order mark"),
        ('{"text": "{{ type"}', "at line 1, column 11 is not closed"),
        ('{"text": {{ type }', "at line 1, column 10 is not closed"),
        ('{\n"text": "{{ a {{ b }} }}"}', "at line 2, column 10 has braces within braces"),
        ('{"text": "{{{ type }}}"}', "at line 1, column 11 has braces within braces"),
        ('{"text": "{{ }}"}', "is empty: put a path into it"),
        ('{"text": "{{ a b }}"}', "cannot be read: it is a path"),
        ('{"text": "{{ a..b }}"}', "has an empty key at character 3"),
        ('{"text": "{{ ' + "a." * 10_000 + 'a }}"}', "at most 16 KiB"),
        ('{"text": "{{ ' + "a." * 1_000 + 'a }}"}', "longer than 1,024 characters"),
        ('{"{{ type }}": 1}', "placeholder in a key, at line 1, column 3"),
        ('{"a{{ type }}b" : 1}', "placeholder in a key, at line 1, column 4"),
        ("{{{ type }}: 1}", "braces within braces"),
        ("{ {{ type }} : 1}", "placeholder in a key, at line 1, column 3"),
        ('{"a": {{ "{{" }}}', "outside of a JSON string"),
        ("{{ type }}{{ id }}", "not JSON at line 1, column 11"),
        ("-{{ data.n }}", "not JSON"),
        ("1{{ data.n }}", "not JSON"),
        (r'"\u00{{ data.n }}41"', "not JSON"),
        (r'"\{{ data.n }}"', "not JSON"),
        ('"a\nb"', "not JSON"),
        ('"{{ type }}', "not JSON"),
        ('"\\', "not JSON"),
        ('{"a": NaN}', "NaN is no value of JSON"),
        ("[" * 8_000 + "]" * 8_000, "nested too deeply"),
        ('"' + "x" * 16_400 + '"', "at most 16 KiB"),
        ('"' + "é" * 8_200 + '"', "at most 16 KiB"),
        ('"\0"', "NUL"),
        ('"\ud800"', "surrogate"),
    ],
)
def test_what_is_no_template_is_refused_with_words_that_say_where(template: str, words: str) -> None:
    """However long it is, the sentence is short."""
    with pytest.raises(Refused) as refused:
        templates.check(template)
    assert words in refused.value.message
    assert (refused.value.field, len(refused.value.message) < 400) == ("template", True)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)
EVERYWHERE = '{"s": "<{{ data.x }}|{{ data.x }}>", "v": {{ data.x }}, "list": [{{ data.x.0 }}, "{{ data.x.0 }}"], "k": "{{ data }}"}'


@given(json_values, st.booleans())
@example('", "injected": "', True)
@example("\ud800", True)
@example("\\", False)
@example("\\ud83d", True)
@example("\ude00", True)
def test_whatever_an_event_holds_the_result_is_json_of_the_same_shape(value: Any, as_ascii: bool) -> None:
    """A text can neither end the string that it stands in, nor add a field: over all of Unicode, halves of pairs too."""
    body = json.dumps({"data": {"x": value}}, ensure_ascii=True if _has_surrogate(value) else as_ascii)
    rendered = templates.render(EVERYWHERE, body)
    rendered.encode()
    parsed = json.loads(rendered)
    assert set(parsed) == {"s", "v", "list", "k"}
    assert parsed["v"] == value
    assert json.loads(parsed["k"]) == {"x": value}
    if isinstance(value, str):
        assert _halves_joined(parsed["s"]) == _halves_joined(f"<{value}|{value}>")


def _has_surrogate(value: Any) -> bool:
    return "\\ud" in json.dumps(value)


def _halves_joined(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(st.text(st.sampled_from('{} "\\:,[]anul01.\n')))
def test_any_text_is_a_template_that_makes_json_or_is_refused(text: str) -> None:
    """Nothing else is raised, and what is accepted makes JSON of any event."""
    try:
        template = templates.check(text)
    except Refused:
        return
    for body in (BODY, "{}", '{"a": "\\"}{{", "n": ["]", {}]}'):
        json.loads(templates.render(template, body))


def test_a_body_of_more_than_256_kib_is_not_made() -> None:
    """It stops as soon as it is too large, and counts bytes."""
    body = json.dumps({"data": "é" * 100_000}, ensure_ascii=False)
    assert len(templates.render('"{{ data }}"', body)) == 100_002
    for template in ('"{{ data }}{{ data }}"', f'"{"{{data}}" * 1_800}"'):
        with pytest.raises(CannotRender, match="larger than 256 KiB"):
            templates.render(templates.check(template), body)


def test_a_body_that_is_not_json_is_not_rendered() -> None:
    """Rows that got in past the checks may have one."""
    with pytest.raises(CannotRender, match="cannot be read"):
        templates.render('"{{ type }}"', '{"type": ')


def test_a_deep_value_is_written_however_deep_it_is() -> None:
    """As JSON and as text."""
    deep = "[" * 5_000 + '{"a":"\\""}' + "]" * 5_000
    rendered = templates.render("{{ data }}", f'{{"data": {deep}}}')
    assert rendered == deep


@pytest.mark.parametrize("patterns", [("*",), ("work_item.*",), ("lead.created",), ("gone.type",)])
def test_a_template_is_tried_with_the_samples_of_what_the_webhook_subscribes_to(patterns: tuple[str, ...]) -> None:
    """A pattern that matches nothing known is tried with a sample of its own."""
    templates.check_samples('"{{ data }}"', patterns, CATALOGUE)
    many = '"' + "{{data}}" * 1_900 + '"'
    if patterns != ("gone.type",):
        with pytest.raises(Refused, match="larger than 256 KiB"):
            templates.check_samples(many, patterns, CATALOGUE)
    else:
        templates.check_samples(many, patterns, CATALOGUE)
