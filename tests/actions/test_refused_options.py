"""What a webhook cannot be told is refused with one sentence, whether a command, the API or a page was asked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from .conftest import FORM, NEW, URL, Faces, Refusal, changed, check, new, rows, told

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONCURRENCY = "concurrency must be a whole number from 1 to 64."
RATE_LIMIT = (
    "A rate limit is a whole number from 1 to 10000, a slash, and s, m or h for a second, a minute or an hour: "
    "10/s, 300/m or 5000/h."
)
NO_PRESET = (
    "There is no ready template 'slak': there are slack, discord, teams, google-chat. One of your own is a JSON text."
)
NO_JSON = "The template is not JSON at line 1, column 9: expecting value."
NOT_CLOSED = "The template's placeholder at line 1, column 11 is not closed: }} is missing."
NESTED = (
    "The template's placeholder at line 1, column 11 has braces within braces: close it with }} first; a literal {{ is "
    '{{ "{{" }}.'
)
MARK = "The template begins with a byte order mark, which is not JSON: save it without."
IN_A_KEY = "The template has a placeholder in a key, at line 1, column 3: only values can have one."
WRONG_PATH = (
    "The template's placeholder at line 1, column 11 has a wrong path. The path 'data..x' has an empty key at character 6: "
    "put one dot between two keys, and none at the ends."
)
LITERAL = "The template has a literal {{ at line 1, column 7, outside of a JSON string."
DEEP = "The template is nested too deeply: 200 levels at most."
LARGE_BODY = "The template fails for the sample of work_item.created: the body that the template makes of it is larger than 256 KiB."
MUCH = '"' + "{{data}}" * 1_900 + '"'
TOGETHER = (
    "An ordered webhook sends one delivery after the other, and concurrency asks for 8 at once. Take concurrency away, or "
    "set it to 1."
)
OURS = "The header {} cannot be chosen: it belongs to the connection, to a proxy, or to what every request has."
NO_NAME = (
    "Header {} has no name that a header can have: 1 to 64 letters, digits and !#$%&'*+-.^_`|~ (RFC 9110), then a colon in "
    "a command."
)
VALUE = "The value of the header X-Team must be {}."
VISIBLE = "of visible ASCII characters, with spaces between them alone"
MANY = "A webhook has at most 20 headers of its own."


def header_refused(sentence: str, *headers: tuple[str, str]) -> Refusal:
    """A webhook that is not changed for its headers; names that are the same make an object of one for the API."""
    words = [word for name, value in headers for word in ("--header", f"{name}: {value}")]
    names, values = [name for name, _ in headers], [value for _, value in headers]
    form = {"url": URL, "events": "*", "header_name": names, "header_value": values}
    return Refusal(
        sentence,
        ("webhook", "update", "{webhook}", *words),
        ("PATCH", "/webhooks/{webhook}", {"headers": dict(headers)}),
        ("/webhooks/{webhook}/edit", form),
        field="headers",
    )


EMPTY_KEY = "the path 'data..x' has an empty key at character 6: put one dot between two keys, and none at the ends."
QUOTED = (
    "the path 'data.\"a.b\"' cannot be read at character 6: put dots between keys, and write a key with dots, quotes, "
    'brackets or blanks as ["a.b"].'
)
TOO_DEEP = json.loads("[" * 17 + "]" * 17)
DIGITS = "a number has at most 100 digits, and 15 where it has a fraction."
# What is wrong with a condition: its field, operator and value, and the sentence.
FILTERS: tuple[tuple[str, str, str, Any, str], ...] = (
    ("a path with an empty part", "data..x", "=", 1, EMPTY_KEY),
    ("a path of 10,000 parts", ".".join("a" * 10_000), "=", 1, f"the path '{'a.' * 30}…' is longer than 1,024 characters."),
    ("a field name in quotes without brackets", 'data."a.b"', "=", 1, QUOTED),
    ("an object that is contained", "data.x", "contains", {"a": 1}, "contains takes a text, which is looked for in a text, or a value, which is looked for in an array."),
    ("an order of truth values", "data.x", ">", True, "> takes a number or a text."),
    ("a beginning that is a number", "data.x", "starts with", 5, "starts with takes a text; write 5 in quotes for a text."),
    ("a number of 400 digits", "data.x", "=", int("9" * 400), DIGITS),
    ("a value that is too deep", "data.x", "=", TOO_DEEP, "its value is nested deeper than 16 levels."),
    ("a value too many", "data.x", "exists", 1, "exists takes no value."),
    ("an empty list", "data.x", "in", [], "in takes a list of one value at least."),
)  # fmt: skip


def filtered(field: str, op: str, value: Any) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """A filter of one condition, as `new` and `changed` take it."""
    text = json.dumps(value)
    body = {"filter": [{"field": field, "op": op, "value": value}]}
    return "--where", f"{field} {op} {text}", body, rows((field, op, text))


REFUSALS: dict[str, Refusal] = {
    "more requests at once than are allowed": new(
        CONCURRENCY, "--concurrency", "65", {"concurrency": 65}, {"concurrency": "65"}
    ),
    "no request at once": new(CONCURRENCY, "--concurrency", "0", {"concurrency": 0}, {"concurrency": "0"}),
    "a change to fewer than none at once": changed(
        CONCURRENCY, "--concurrency", "-1", {"concurrency": -1}, {"concurrency": "-1"}
    ),
    "a change to a number of 400 digits": changed(
        CONCURRENCY, "--concurrency", "9" * 400, {"concurrency": int("9" * 400)}, {"concurrency": "9" * 400}
    ),
    "a number of requests in words": replace(
        changed(CONCURRENCY, "--concurrency", "four", {"concurrency": "four"}, {"concurrency": "four"}),
        call=None,  # the API takes a number alone
    ),
    "a new webhook with a header that is the connection's": new(
        OURS.format("Host"),
        "--header",
        "Host: a",
        {"headers": {"Host": "a"}},
        {"header_name": "Host", "header_value": "a"},
    ),
    "headers that differ in case alone": header_refused(
        "The header x-team is given twice; names that differ in case alone are the same.",
        ("X-Team", "a"),
        ("x-team", "b"),
    ),
    "a header that is the connection's": header_refused(
        OURS.format("Transfer-Encoding"), ("Transfer-Encoding", "chunked")
    ),
    "a header that signs": header_refused(OURS.format("X-Almirant-Signature"), ("X-Almirant-Signature", "0")),
    "a header without a name": header_refused(NO_NAME.format(1), ("", "a")),
    "a header with a blank in its name": header_refused(NO_NAME.format(2), ("X-Team", "a"), ("My Secret", "a")),
    "a header with a long name": header_refused(NO_NAME.format(1), ("X" * 65, "a")),
    "a header that ends in a blank": header_refused(
        VALUE.format("without a blank or a line break before or after it"), ("X-Team", "a ")
    ),
    "a header of two lines": header_refused(VALUE.format(VISIBLE), ("X-Team", "a\r\nHost: b")),
    "a header outside of ASCII": header_refused(VALUE.format(VISIBLE), ("X-Team", "e\u0301")),
    "a header that is too long": header_refused(
        VALUE.format("of at most 2,048 characters; this one has 2,049"), ("X-Team", "a" * 2049)
    ),
    "a header without a value": header_refused(
        VALUE.format("of one character at least; to take a header away, leave out its name too"), ("X-Team", "")
    ),
    "a mask for what is not there": header_refused(
        "The header X-Team has no value yet that (masked) could stand for; give its value.", ("X-Team", "(masked)")
    ),
    "more headers than 20": header_refused(MANY, *((f"X-{number}", "a") for number in range(21))),
    "a header that is no text": Refusal(
        VALUE.format("text, or null to take the header away"),
        call=("PATCH", "/webhooks/{webhook}", {"headers": {"X-Team": 7}}),
        field="headers",
    ),
    "headers that are no object": Refusal(
        "headers must be an object.", call=("PATCH", "/webhooks/{webhook}", {"headers": ["X-Team: a"]}), field="headers"
    ),
    "headers given and taken away": Refusal(
        "Give --header or --no-headers, not both.",
        ("webhook", "update", "{webhook}", "--header", "X-Team: a", "--no-headers"),
        code=2,
    ),
    "headers of a file that is not there": Refusal(
        "--header: /nowhere cannot be read: No such file or directory.",
        ("webhook", "update", "{webhook}", "--header", "@/nowhere"),
    ),
    "a limit given and taken away": Refusal(
        "Give --concurrency or --no-concurrency, not both.",
        ("webhook", "update", "{webhook}", "--concurrency", "4", "--no-concurrency"),
        code=2,
    ),
    **{
        f"a rate limit of {limit[:20]!r}": new(
            RATE_LIMIT, "--rate-limit", limit, {"rate_limit": limit}, {"rate_limit": limit}
        )
        for limit in ("0/s", "1e9/s", "10/fortnight", "10001/h", "ten/s", "10", "-1/s", "9" * 400 + "/s")
    },
    "a change to a rate limit of a word": changed(
        RATE_LIMIT, "--rate-limit", "fast", {"rate_limit": "fast"}, {"rate_limit": "fast"}
    ),
    "an empty rate limit": replace(
        changed(RATE_LIMIT, "--rate-limit", "", {"rate_limit": ""}, {"rate_limit": ""}),
        page=None,  # an empty field takes the limit away
    ),
    "a rate limit given and taken away": Refusal(
        "Give --rate-limit or --no-rate-limit, not both.",
        ("webhook", "update", "{webhook}", "--rate-limit", "4/s", "--no-rate-limit"),
        code=2,
    ),
    "a ready template that there is not": told("template", NO_PRESET, "slak"),
    "a template that is not JSON": told("template", NO_JSON, '{"text":}'),
    "a template whose braces are not closed": told("template", NOT_CLOSED, '{"text": "{{ type"}'),
    "a template with braces in braces": told("template", NESTED, '{"text": "{{ a {{ b }} }}"}'),
    "a template that begins with a byte order mark": told("template", MARK, '\ufeff{"a": 1}'),
    "a body that begins with a byte order mark": Refusal(
        "The body begins with a byte order mark, which is not JSON: send it without.",
        call=("PATCH", "/webhooks/{webhook}", b'\xef\xbb\xbf{"template": "slack"}'),
        field="body",
    ),
    "a condition with a number that JSON does not have": Refusal(
        "filter has NaN or Infinity, which JSON does not have; write a number, or a text in quotes.",
        call=("PATCH", "/webhooks/{webhook}", {"filter": [{"field": "data.x", "op": "=", "value": float("nan")}]}),
        field="filter",
    ),
    "a template with a placeholder in a key": told("template", IN_A_KEY, '{"{{ type }}": 1}'),
    "a template with a path that is none": told("template", WRONG_PATH, '{"text": "{{ data..x }}"}'),
    "a template with a literal outside of a string": told("template", LITERAL, '{"a": {{ "{{" }}}'),
    "a template that is nested too deeply": told("template", DEEP, "[" * 201 + "]" * 201),
    "a template with a number that JSON does not have": told(
        "template", "The template is not JSON: NaN is no value of JSON.", '{"a": NaN}'
    ),
    "an empty template": replace(
        told("template", "The template is empty: give a JSON text, or the name of a ready one.", ""),
        page=None,  # an empty field takes the template away
    ),
    "a template that makes too much of a sample": told("template", LARGE_BODY, MUCH),
    "a change to a template that is not JSON": replace(
        told("template", NO_JSON, '{"text":}'),
        command=("webhook", "update", "{webhook}", "--template", '{"text":}'),
        call=("PATCH", "/webhooks/{webhook}", {"template": '{"text":}'}),
    ),
    "a template given and taken away": Refusal(
        "Give --template or --no-template, not both.",
        ("webhook", "update", "{webhook}", "--template", "1", "--no-template"),
        code=2,
    ),
    "a template of a file that is not there": Refusal(
        "--template: /nowhere/at-all.json cannot be read: No such file or directory.",
        ("webhook", "update", "{webhook}", "--template", "@/nowhere/at-all.json"),
    ),
    **{
        what: new(f"Condition 1: {sentence}", *filtered(field, op, value))
        for what, field, op, value, sentence in FILTERS
    },
    "a change to a path with an empty part": changed(f"Condition 1: {EMPTY_KEY}", *filtered("data..x", "=", "1")),
    "an operator that there is not": Refusal(
        "Condition 1: op must be one of =, !=, in, not in, contains, starts with, ends with, >, >=, <, <=, exists, not exists.",
        None,  # in a condition's text it is where an operator is looked for
        ("PATCH", "/webhooks/{webhook}", {"filter": [{"field": "data.x", "op": "like", "value": "x"}]}),
        ("/webhooks/{webhook}/edit", {"url": URL, "events": "*", **rows(("data.x", "like", "x"))}),
        field="filter",
    ),
    "a condition without an operator": Refusal(
        "Condition 1: behind 'data.x' one of =, !=, in, not in, contains, starts with, ends with, >, >=, <, <=, exists, "
        "not exists is expected, as in data.workItem.priority in high,urgent.",
        ("webhook", "update", "{webhook}", "--where", "data.x like x"),
    ),
    "twenty-one conditions": Refusal(
        "A filter has at most 20 conditions.",
        ("webhook", "update", "{webhook}", *["--where", "data.x = 1"] * 21),
        ("PATCH", "/webhooks/{webhook}", {"filter": [{"field": "data.x", "op": "=", "value": 1}] * 21}),
        ("/webhooks/{webhook}/edit", {"url": URL, "events": "*", **rows(*[("data.x", "=", "1")] * 21)}),
        field="filter",
    ),
    "a filter of 16 KiB": Refusal(
        "A filter has at most 16 KiB as JSON.",
        ("webhook", "update", "{webhook}", "--where", f"data.x = {'x' * 17_000}"),
        ("PATCH", "/webhooks/{webhook}", {"filter": [{"field": "data.x", "op": "=", "value": "x" * 17_000}]}),
        ("/webhooks/{webhook}/edit", {"url": URL, "events": "*", **rows(("data.x", "=", "x" * 17_000))}),
        field="filter",
    ),
    "a filter given and taken away": Refusal(
        "Give --where or --no-where, not both.",
        ("webhook", "update", "{webhook}", "--where", "data.x = 1", "--no-where"),
        code=2,
    ),
    "an order that is neither true nor false": Refusal(
        "ordered must be true or false.",
        None,  # the command has two options for it
        ("POST", "/webhooks", {**NEW, "ordered": "yes"}),
        ("/webhooks", {**FORM, "ordered": "yes"}),
        field="ordered",
    ),
    "a new webhook that is ordered with several at once": Refusal(
        TOGETHER,
        ("webhook", "create", "--project", "proj_1", "--url", URL, "--event", "*", "--ordered", "--concurrency", "8"),
        ("POST", "/webhooks", {**NEW, "ordered": True, "concurrency": 8}),
        ("/webhooks", {**FORM, "ordered": "true", "concurrency": "8"}),
        field="ordered",
    ),
    "a change to an order with several at once": Refusal(
        TOGETHER,
        ("webhook", "update", "{webhook}", "--concurrency", "8", "--ordered"),
        ("PATCH", "/webhooks/{webhook}", {"concurrency": 8, "ordered": True}),
        ("/webhooks/{webhook}/edit", {"url": URL, "events": "*", "concurrency": "8", "ordered": "true"}),
        field="ordered",
    ),
    "an order for a webhook that has several at once": replace(
        changed(TOGETHER, "--ordered", "", {"ordered": True}, {"ordered": "true"}),
        command=("webhook", "update", "{several}", "--ordered"),
        call=("PATCH", "/webhooks/{several}", {"ordered": True}),
        page=("/webhooks/{several}/edit", {"url": URL, "events": "*", "ordered": "true"}),
    ),
    "several at once for a webhook that is ordered": Refusal(
        TOGETHER,
        ("webhook", "update", "{in_order}", "--concurrency", "8"),
        ("PATCH", "/webhooks/{in_order}", {"concurrency": 8}),
        ("/webhooks/{in_order}/edit", {"url": URL, "events": "*", "concurrency": "8"}),
        field="ordered",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_every_face_refuses_with_the_same_sentence_and_nothing_is_changed(faces: Faces, what: str) -> None:
    """A command with its exit code, the API with its status and field, a page with its status."""
    await check(faces, REFUSALS[what])
