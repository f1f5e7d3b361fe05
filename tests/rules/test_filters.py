"""Filters: what people may write, and which events they let through."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.model import Condition, Refused
from almirant_webhooks.rules import conditions, filters
from almirant_webhooks.rules.bodies import Body
from almirant_webhooks.rules.conditions import OPERATORS, Typed

BODY = (
    '{"id": "evt_1", "type": "work_item.created", "data": {"priority": "high", "points": 5, "cost": 1.50, "big": 12345678901234567890,'
    ' "done": true, "parent": null, "tags": ["a", 1, true, null], "a.b": {"c": "x"}, "doubled": 1, "doubled": 2, "empty": "",'
    ' "text": "Größe 5", "nested": {"a": [1, {"b": 2}]}, "huge": 1e99999999999999999999, "tiny": 1e-99999999999999999999,'
    ' "less": -1E+99999999999999999999, "zero": -0.0e99999999999999999999, "long": ' + "9" * 5000 + "}}"
)


def unmet(body: str, *written: object) -> str | None:
    """What of a filter does not hold for a body."""
    checked = filters.check(written)
    assert checked is not None
    return filters.compiled(filters.text_of(checked)).unmet(Body.of(body))


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("data.workItem.priority in high,urgent", ("data.workItem.priority", "in", ["high", "urgent"])),
        ("data.x=5", ("data.x", "=", 5)),
        ("data.x  >=  1.50", ("data.x", ">=", 1.5)),
        ("data.x != null", ("data.x", "!=", None)),
        ("data.x = true", ("data.x", "=", True)),
        ('data.x = "true"', ("data.x", "=", "true")),
        ("data.x = two words", ("data.x", "=", "two words")),
        ('data.x = ""', ("data.x", "=", "")),
        ('data.x = {"a": [1]}', ("data.x", "=", {"a": [1]})),
        ("data.x = NaN", ("data.x", "=", "NaN")),
        ("data.x = 12345678901234567890", ("data.x", "=", 12345678901234567890)),
        ("data.x = 5.0", ("data.x", "=", 5)),
        ('data.x in "a,b",c , 3', ("data.x", "in", ["a,b", "c", 3])),
        ('data.x not in ["a", 1]', ("data.x", "not in", ["a", 1])),
        ("data.x in high", ("data.x", "in", ["high"])),
        ('data["a.b"]["c d"] = 1', ('data["a.b"]["c d"]', "=", 1)),
        ('data["plain"].tags.0 = 1', ("data.plain.tags.0", "=", 1)),
        ("data.title  starts   with [WIP]", ("data.title", "starts with", "[WIP]")),
        ("data.x exists", ("data.x", "exists")),
        (" data.x not  exists ", ("data.x", "not exists")),
    ],
)
def test_a_condition_is_a_field_an_operator_and_a_value(text: str, condition: tuple[Any, ...]) -> None:
    """The value is JSON if it parses, else text; a list goes by commas or is JSON."""
    assert filters.check([text]) == [dict(zip(("field", "op", "value"), condition, strict=False))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the path '' is empty"),
        ("data.x", "behind 'data.x' one of =, !=, in"),
        ("data.x likes y", "behind 'data.x' one of"),
        ("data.x[0] = 1", "cannot be read at character 7"),
        ("data.x == 1", "the operator for equal is =, not =="),
        ("data.x =", "= needs a value"),
        ("data.x in", "in needs a value"),
        ("data.x in a,,b", "its list has an empty item"),
        ("data.x in a,", "its list has an empty item"),
        ("data.x exists now", "exists takes no value"),
        ("data.x > true", "> takes a number or a text"),
        ("data.x contains [1]", "contains takes a text"),
        ("data.x ends with 5", "ends with takes a text; write 5 in quotes for a text"),
        ("data.x starts with null", "starts with takes a text."),
        (f"data.x = {'9' * 400}", "a number has at most 100 digits"),
        ("data.x = 1e400", "a number has at most 100 digits"),
        ("data.x = 1e99999999999999999999", "a number has at most 100 digits"),
        ("data.x = 0.1234567890123456789", "a number has at most 100 digits"),
        (f"data.x = {'[' * 5000}{']' * 5000}", "nested deeper than 16 levels"),
        (f"{'a.' * 10_000}b = 1", "longer than 1,024 characters"),
        ('data.x = "\\u0000"', "holds a NUL"),
        ('data.x = "\\ud800"', "half of a surrogate pair"),
    ],
)
def test_what_is_no_condition_is_refused_with_words_that_say_why(text: str, words: str) -> None:
    """However long it is, the sentence is short."""
    with pytest.raises(Refused) as refused:
        filters.check([text])
    assert words in refused.value.message
    assert refused.value.message.startswith("Condition 1: ")
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (5, 'it must be an object with "field", "op" and "value"'),
        ({"field": "x", "op": "=", "value": 1, "not": True}, "there is no 'not'"),
        ({"op": "=", "value": 1}, "is empty"),
        ({"field": 5, "op": "=", "value": 1}, "field must be a text"),
        ({"field": "x\0", "op": "=", "value": 1}, "field holds a NUL"),
        ({"field": "x", "op": ["="], "value": 1}, "op must be one of"),
        ({"field": "x", "value": 1}, "op must be one of"),
        ({"field": "x", "op": "="}, "= needs a value"),
        ({"field": "x", "op": "in", "value": "a,b"}, "in takes a list of one value"),
        ({"field": "x", "op": "in", "value": {"a": 1}}, "in takes a list of one value"),
        ({"field": "x", "op": "=", "value": float("nan")}, "a number has at most"),
        ({"field": "x", "op": "=", "value": {"a": "\ud800"}}, "half of a surrogate pair"),
        (Typed("data.x", "in", ""), "in needs a value"),
        (Typed("", "=", "x"), "is empty"),
        (Typed("data.x = 5", "=", "x"), "cannot be read at character 7"),
    ],
)
def test_an_object_or_a_row_of_the_form_is_held_to_the_same_rules(condition: object, words: str) -> None:
    """The second one is named as the second."""
    with pytest.raises(Refused) as refused:
        filters.check(["data.x = 1", condition])
    assert words in refused.value.message
    assert refused.value.message.startswith("Condition 2: ")


def test_a_filter_has_twenty_conditions_at_most() -> None:
    """None at all is no filter."""
    assert len(filters.check(["data.x = 1"] * 20) or ()) == 20
    with pytest.raises(Refused, match="at most 20 conditions"):
        filters.check(["data.x = 1"] * 21)
    with pytest.raises(Refused, match="at most 16 KiB"):
        filters.check([f"data.x = {'é' * 8_200}"])
    assert filters.check([]) is None
    for wrong in ("data.x = 1", {"field": "x"}, 5):
        with pytest.raises(Refused, match="filter must be a list"):
            filters.check(wrong)


@pytest.mark.parametrize(
    "condition",
    [
        "type = work_item.created",
        "data.priority = high",
        "data.priority != low",
        "data.priority in high,urgent",
        "data.priority not in low,medium",
        "data.priority contains ig",
        "data.priority starts with h",
        "data.priority ends with gh",
        "data.priority > a",
        "data.priority < high1",
        "data.text > Gr",
        "data.text < H",
        "data.points = 5.0",
        "data.points in 4,5",
        "data.points >= 5",
        "data.points > 4.999",
        "data.cost = 1.5",
        "data.cost <= 1.50",
        "data.big = 12345678901234567890",
        "data.big < 12345678901234567891",
        "data.done = true",
        "data.parent = null",
        "data.parent exists",
        "data.tags contains a",
        "data.tags contains 1.0",
        "data.tags contains null",
        "data.tags.0 = a",
        "data.tags.3 exists",
        "data.tags.4 not exists",
        'data["a.b"].c = x',
        "data.doubled = 2",
        'data.empty = ""',
        'data.nested = {"a": [1.0, {"b": 2}]}',
        'data.nested in [{"a": [1, {"b": 2}]}]',
        "data.huge > 1e299",
        "data.less < -1e299",
        "data.tiny > 0",
        "data.tiny < 0.001",
        "data.zero = 0",
        f"data.long > {'9' * 100}",
        "data.nope != 1",
        "data.nope not in 1,2",
        "data.nope not exists",
    ],
)
def test_a_condition_that_holds(condition: str) -> None:
    """For an event's own body."""
    assert unmet(BODY, condition) is None


@pytest.mark.parametrize(
    "condition",
    [
        'data.points = "5"',
        "data.points contains 5",
        "data.points > a",
        "data.priority > 5",
        "data.done = 1",
        'data.done = "true"',
        "data.done >= 1",
        "data.parent = 0",
        'data.parent = ""',
        "data.parent not exists",
        "data.tags = a",
        "data.tags contains true1",
        "data.tags.00 exists",
        "data.a.b.c = x",
        "data.doubled = 1",
        "data.cost contains 1",
        'data.cost starts with "1"',
        'data.nested = {"a": [1, {"b": true}]}',
        'data.nested in [{"a": [1]}]',
        "data.nope = null",
        "data.nope in null",
        "data.nope contains x",
        "data.nope starts with x",
        "data.nope > 0",
        "data.nope <= 0",
        "data.nope exists",
        "data.long = 9",
    ],
)
def test_a_condition_that_does_not_hold_is_named(condition: str) -> None:
    """As people write it."""
    assert unmet(BODY, condition) == condition
    assert unmet(BODY, "data.points = 5", condition, "data.nope exists") == condition


def test_of_several_conditions_all_must_hold() -> None:
    """The first that does not is the verdict."""
    assert unmet(BODY, "data.points = 5", "data.priority = high", "type starts with work_item.") is None
    assert unmet(BODY, "data.points = 5", "data.priority = low", "data.points = 6") == "data.priority = low"


def test_a_body_of_any_depth_is_looked_into() -> None:
    """Deeper than Python's own reader of JSON goes."""
    deep = f'{{"data": {{"n": 1, "deep": {"[" * 3000}{"]" * 3000}}}}}'
    assert unmet(deep, "data.n = 1", "data.deep exists", "data.deep != 1", "data.deep != []") is None


def test_a_body_that_is_not_json_has_no_fields() -> None:
    """Nothing is raised."""
    assert unmet("{", "data.x not exists") is None
    assert unmet("{", "data.x = 1") == "data.x = 1"


@pytest.mark.parametrize("text", ["", "5", "[5]", '[{"op": "="}]', '[{"field": "..", "op": "="}]', '[{"field": "x", "op": "?"}]'])  # fmt: skip
def test_a_stored_filter_that_cannot_be_read_lets_nothing_through(text: str) -> None:
    """And says so; nothing is raised in the delivery loop."""
    assert filters.compiled(text).unmet(Body.of(BODY)) == filters.UNREADABLE


def test_a_long_condition_is_cut_in_a_verdict() -> None:
    """It is kept with each event."""
    words = unmet(BODY, f"data.priority = {'x' * 5000}")
    assert words is not None
    assert (len(words), words[-1]) == (201, "…")


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
fields = st.lists(st.text(), min_size=1, max_size=4).map(lambda keys: "".join(f"[{json.dumps(key)}]" for key in keys))


@st.composite
def written(draw: st.DrawFn) -> Condition:
    """A condition as a program writes it; most of them are right."""
    op = draw(st.sampled_from(OPERATORS))
    condition: Condition = {"field": draw(fields), "op": op}
    if op in ("in", "not in"):
        condition["value"] = draw(st.lists(values, min_size=1, max_size=3))
    elif op not in ("exists", "not exists"):
        condition["value"] = draw(values)
    return condition


@given(written())
def test_a_condition_is_the_same_from_its_words(condition: Condition) -> None:
    """What `webhook show` prints is what `--where` takes, and what the form shows is what it saves."""
    try:
        (checked,) = filters.check([condition]) or [condition]
    except Refused:
        return
    assert filters.check([conditions.words(checked)]) == [checked]
    row = Typed(checked["field"], checked["op"], conditions.value_text(checked))
    assert filters.check([row]) == [checked]
    assert filters.check([checked]) == [checked]
    assert filters.check(json.loads(filters.text_of([checked]))) == [checked]


@given(st.text())
def test_any_text_is_a_condition_or_is_refused(text: str) -> None:
    """Nothing else is raised, by any face."""
    for condition in (text, f"data.x {text}", f"data.x in {text}", Typed(text, "=", text), Typed("x", text, text)):
        with contextlib.suppress(Refused):
            filters.check([condition])


@given(values)
def test_any_json_is_a_filter_or_is_refused(value: object) -> None:
    """Nothing else is raised."""
    for given_value in (value, [value], [{"field": value, "op": value, "value": value}]):
        with contextlib.suppress(Refused):
            filters.check(given_value)


def plain(value: Any) -> Any:
    """A value that Python compares as the contract does: numbers exactly, and types as different."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value), value
    if isinstance(value, (int, float)):
        return "number", Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    if isinstance(value, list):
        return "array", [plain(item) for item in value]
    return "object", {key: plain(item) for key, item in value.items()}


def expected(op: str, value: Any, wanted: Any) -> bool:
    """What the contract says of a value that is there."""
    ours, theirs = plain(value), plain(wanted)
    both_text = isinstance(value, str) and isinstance(wanted, str)
    comparable = both_text or ours[0] == theirs[0] == "number"
    rules: dict[str, Callable[[], bool]] = {
        "=": lambda: ours == theirs,
        "!=": lambda: ours != theirs,
        "in": lambda: ours in theirs[1],
        "not in": lambda: ours not in theirs[1],
        "contains": lambda: theirs in ours[1] if ours[0] == "array" else both_text and wanted in value,
        "starts with": lambda: both_text and value.startswith(wanted),
        "ends with": lambda: both_text and value.endswith(wanted),
        ">": lambda: comparable and ours[1] > theirs[1],
        ">=": lambda: comparable and ours[1] >= theirs[1],
        "<": lambda: comparable and ours[1] < theirs[1],
        "<=": lambda: comparable and ours[1] <= theirs[1],
        "exists": lambda: True,
        "not exists": lambda: False,
    }
    return rules[op]()


near = st.sampled_from([0, 1, 1.0, -1, 10**20, 0.1, "", "1", "a", "ab", "b", True, False, None, [], [1], {}, {"a": 1}])


@given(st.sampled_from(OPERATORS), near | values, near | values)
def test_a_condition_holds_where_the_contract_says_so(op: str, value: Any, wanted: Any) -> None:
    """Held against the contract's words written down once more, with fractions."""
    if op in ("in", "not in") and not isinstance(wanted, list):
        wanted = [wanted]
    condition = {"field": "data.v", "op": op} | ({} if op in ("exists", "not exists") else {"value": wanted})
    body = json.dumps({"data": {"v": value}})
    with contextlib.suppress(Refused):
        assert (unmet(body, condition) is None) is expected(op, value, wanted)
