"""What a filter and a template cost is linear in their length and in the body's, counted in calls and not in seconds."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from almirant_webhooks.rules import filters, paths, templates
from almirant_webhooks.rules.bodies import Body
from almirant_webhooks.rules.comparing import plain_of


def calls(function: Callable[[], object]) -> int:
    """Return how many functions are called by a function, of Python's own in C too, when it is called once more."""
    count = 0

    def note(_: FrameType, event: str, __: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    function()  # what is kept from a first call costs the next ones nothing
    gc.disable()  # what a collection calls is not the function's
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def is_linear(prepared: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Tell whether twice the size takes twice the calls, beside those that any size takes."""
    one, two, four = (calls(prepared(size * times)) for times in (1, 2, 4))
    return two > one and four - two == 2 * (two - one)


@pytest.mark.parametrize("condition", ["data.n = 1", "data.text contains x", "data.gone not exists", "data.n in 1,2"])
def test_a_filter_costs_as_much_as_it_has_conditions(condition: str) -> None:
    """Each is looked at once, and the body was read before."""
    root = paths.read('{"data": {"n": 1, "text": "xyz"}}')

    def prepared(count: int) -> Callable[[], object]:
        text = filters.text_of(filters.check([condition] * count) or [])
        compiled = filters.compiled(text)
        return lambda: compiled.unmet(Body(root))

    assert is_linear(prepared, 5)


def test_a_condition_costs_as_much_as_the_array_has_items() -> None:
    """Each is compared once."""
    compiled = filters.compiled(filters.text_of(filters.check(["data contains x"]) or []))

    def prepared(count: int) -> Callable[[], object]:
        root = paths.read(json.dumps({"data": ["y"] * count}))
        return lambda: compiled.unmet(Body(root))

    assert is_linear(prepared, 100)


@pytest.mark.parametrize("part", ["{{ data.n }} ", '{{ "{{" }} ', "{{ data.gone }}"])
def test_a_template_costs_as_much_as_it_has_placeholders(part: str) -> None:
    """It is read once for all events, and what a placeholder becomes is not looked into again."""
    root = paths.read('{"data": {"n": "{{ data.n }}"}}')

    def prepared(count: int) -> Callable[[], object]:
        template = templates.check(f'["{part * count}"]')
        return lambda: templates.render_value(template, Body(root))

    if part.startswith('{{ "'):
        assert calls(prepared(100)) == calls(prepared(400)), "what is no placeholder is one text"
    else:
        assert is_linear(prepared, 100)
    assert templates.render('"{{ data.n }}"', '{"data": {"n": "{{ data.n }}"}}') == '"{{ data.n }}"'


def test_a_value_costs_as_much_as_it_is_long() -> None:
    """As JSON in place of a value, and as text in a string."""

    def prepared(count: int) -> Callable[[], object]:
        root = paths.read(json.dumps({"data": [{"a": [1, "x"]}] * count}))
        return lambda: templates.render_value('{"value": {{ data }}, "text": "{{ data }}"}', Body(root))

    assert is_linear(prepared, 100)


def test_what_costs_by_the_size_of_a_body_is_paid_once_for_all_webhooks() -> None:
    """Each has a filter that looks for other items of the same array, and a template that has the same value in it."""
    text = json.dumps({"data": list(range(500))})

    def prepared(count: int) -> Callable[[], object]:
        asked = [
            filters.compiled(filters.text_of(filters.check([f"data contains {item}"]) or [])) for item in range(count)
        ]
        made = [templates.check(f'{{"{number}": {{{{ data }}}}, "text": "{{{{ data }}}}"}}') for number in range(count)]

        def ask() -> None:
            body = Body.of(text)
            assert all(one.unmet(body) is None for one in asked)
            assert len({templates.render_value(one, body) for one in made}) == count

        return ask

    one, many = calls(prepared(1)), calls(prepared(20))
    assert many < 2 * one


def test_numbers_cannot_be_chosen_to_have_one_hash() -> None:
    """Those of Python's numbers are the same for all that differ by a multiple of 2^61 - 1: a set of them would take the square."""
    assert len({hash(plain_of(paths.Number(7 + times * (2**61 - 1)))) for times in range(100)}) > 90
    assert plain_of(paths.Number("1")) == plain_of(paths.Number("1.00")) == plain_of(paths.Number("10e-1"))
