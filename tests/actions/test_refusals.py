"""What cannot be done is refused with one sentence, whether a command, the API or a page was asked."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import webhooks as actions
from almirant_webhooks.cli.run_action import CommandDatabase, caller, run_action
from almirant_webhooks.model import Refused
from almirant_webhooks.rules import signing, validation
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.rules.validation import MAX_DESCRIPTION
from almirant_webhooks.storage.sqlite import audit, resends, rotation, webhooks

from ..support.service import SECRET, Service
from ..web.test_refusals import Doors

URL = "https://example.com/in"
GONE = "wh_0"
NEW = {"project_id": "proj_1", "url": URL, "events": ["*"]}
FORM = {"project_id": "proj_1", "url": URL, "events": "*", "secret_kind": "generated"}
# Secrets and URLs that are refused; what the rule says of each is asked of the rule.
SECRETS = ("short", f"{SECRET} ", "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo", "a text\tof 17 bytes", "x" * 257)
URLS = ("https://", "http://example.com/in", "https://10.0.0.1/", "https://u:p@example.com/", f"{URL}#x")


@dataclass(frozen=True)
class Refusal:
    """A sentence, and how each face is asked for what it refuses: None where a face has no such thing."""

    sentence: str
    command: tuple[str, ...] | None = None
    call: tuple[str, str, object] | None = None
    page: tuple[str, dict[str, Any]] | None = None
    code: int = 1
    status: int = 422
    page_status: int | None = None
    field: str | None = None


@dataclass
class Faces:
    """A daemon with its three faces, and the names of what there is."""

    doors: Doors
    names: dict[str, str] = field(default_factory=dict)

    def named(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(f"{{{name}}}", value)
        return text


@pytest.fixture
async def faces(service: Service) -> AsyncIterator[Faces]:
    """A webhook, one that rotates, one that is disabled with a delivery held, a project that is full, a resend that is over."""
    service.options["limits"] = {"webhooks_per_project": 3}
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        doors = Doors(service, client)
        doors.shell.config.write_text(f"{doors.shell.config.read_text()}[limits]\nwebhooks_per_project = 3\n")
        now = clock.now()
        rotating = service.webhook(URL).id
        week = now + 7 * clock.duration("1d")
        started = service.write(rotation.start, rotating, secret=SECRET, switch_at=week, actor="operator", now=now)
        off = service.webhook(URL, project="proj_off").id
        service.write(webhooks.disable, off, now)
        service.insert(project="proj_off")
        await service.until(lambda: service.log(webhook_id=off))
        for _ in range(3):
            service.webhook(URL, project="proj_full")
        over = service.write(resends.start, Selection(since=now), {doors.webhook: 1}, actor="operator", now=now)
        service.write(resends.cancel, over, actor="operator", now=now)
        # It has no part that could end, so that it stays under way.
        replay = "rsd_stays"
        service.write(
            lambda conn: conn.execute(
                "INSERT INTO resends (id, actor, project_id, filters, created_at, replay_of) VALUES (?, 'operator', 'proj_1', '{}', ?, ?)",
                (replay, clock.text(now), rotating),
            )
        )
        empty = service.webhook(URL, project="proj_off").id
        service.write(webhooks.disable, empty, now)
        yield Faces(
            doors,
            {
                "webhook": doors.webhook,
                "several": service.webhook(URL, project="proj_off", concurrency=8).id,
                "in_order": service.webhook(URL, project="proj_off", ordered=True).id,
                "rotating": rotating,
                "switch_at": started["switch_at"],
                "off": off,
                "empty": empty,
                "replay": replay,
                "event": service.log(webhook_id=off)[0]["event_id"],
                "delivery": service.log(webhook_id=off)[0]["delivery_id"],
                "over": over,
                "over_at": service.read(resends.get, over)["finished_at"] or "",
            },
        )


def new(sentence: str, option: str, value: str, body: dict[str, Any], form: dict[str, Any]) -> Refusal:
    """A webhook that is not created for one value."""
    words = {"--project": "proj_1", "--url": URL, "--event": "*", option: value}
    command = tuple(word for pair in words.items() for word in pair)
    (name,) = body
    call = ("POST", "/webhooks", {**NEW, **body})
    return Refusal(sentence, ("webhook", "create", *command), call, ("/webhooks", {**FORM, **form}), field=name)


def changed(sentence: str, option: str, value: str, body: dict[str, Any], form: dict[str, Any]) -> Refusal:
    """A webhook that is not changed for one value."""
    (name,) = body
    page = ("/webhooks/{webhook}/edit", {"url": URL, "events": "*", **form})
    command = ("webhook", "update", "{webhook}", option, value)
    return Refusal(sentence, command, ("PATCH", "/webhooks/{webhook}", body), page, field=name)


def told(name: str, sentence: str, value: str) -> Refusal:
    """A webhook that is not created for an option, whose name is the same at every face."""
    return new(sentence, f"--{name}", value, {name: value}, {name: value})


def gone(command: tuple[str, ...], method: str, path: str, *, page: str | None = None) -> Refusal:
    """A webhook that is not there."""
    post = None if page is None else (f"/webhooks/{GONE}{page}", {"event_type": "lead.created", "yes": "1"})
    words = ("webhook", command[0], GONE, *command[1:])
    call = (method, f"/webhooks/{GONE}{path}", None)
    return Refusal(f"There is no webhook {GONE}.", words, call, post, status=404, field="id")


def rotated(
    sentence: str, words: tuple[str, ...], body: dict[str, Any], form: dict[str, Any] | None, **more: Any
) -> Refusal:
    """A rotation that does not begin."""
    path = "/webhooks/{webhook}/rotate-secret"
    command = ("webhook", "rotate-secret", "{webhook}", *words)
    return Refusal(sentence, command, ("POST", path, body), None if form is None else (path, form), **more)


def replayed(
    sentence: str,
    since: str | None = None,
    name: str = "since",
    value: str | None = None,
    *,
    webhook: str = "{webhook}",
    code: int = 2,
    field: str | None = "",
    status: int = 422,
    **more: Any,
) -> Refusal:
    """A replay that does not begin."""
    named = {"since": since, name: since if value is None else value}
    params = {each: text for each, text in named.items() if text is not None}
    words = [word for each, text in params.items() for word in (f"--{each}", text)]
    path = f"/webhooks/{webhook}/replay"
    refusal = Refusal(
        sentence,
        ("webhook", "replay", webhook, *words, "--yes"),
        ("POST", path, params),
        (path, {"since": "", **params}),
        code=code,
        status=status,
        page_status=422,
        field=name if field == "" else field,
    )
    return replace(refusal, **more)


def sent_to(sentence: str, webhook: str, *, status: int = 409, field: str | None = None) -> Refusal:
    """An event that is not sent to a webhook."""
    path = "/events/{event}/send-to"
    command = ("event", "send-to", "{event}", webhook)
    call = ("POST", path, {"webhook_id": webhook})
    return Refusal(sentence, command, call, (path, {"webhook": webhook}), status=status, field=field)


LONG = "x" * (MAX_DESCRIPTION + 1)
ONE_LINE = f"A description is one line of at most {MAX_DESCRIPTION} characters."
PROJECT = "A project id is 1 to 128 printable ASCII characters without spaces."
RESERVED = "The project almirant is reserved for events about webhooks themselves, which are made here."
CONCURRENCY = "concurrency must be a whole number from 1 to 64."
RATE_LIMIT = (
    "rate_limit must be a whole number from 1 to 10000, a slash, and s, m or h for a second, a minute or an hour: "
    "10/s, 300/m or 5000/h."
)
NO_PRESET = (
    "There is no ready template 'slak': there are slack, discord, teams, google-chat. One of your own is a JSON text."
)
NO_JSON = "The template is not JSON at line 1, column 9: expecting value."
IN_A_KEY = "The template has a placeholder in a key, at line 1, column 3: only values can have one."
LARGE_BODY = "The template fails for the sample of work_item.created: the body that the template makes of it is larger than 256 KiB."
MUCH = '"' + "{{data}}" * 1_900 + '"'
DISABLED = "Webhook {off} is disabled; enable it first (`almirant-webhooks webhook enable {off}`)."
NO_REPLAY = "No kept event of that time matches and is without a delivery for this webhook; there is nothing to replay."
UNDER_WAY = (
    "The replay {replay} of this webhook is under way already; wait for its end, or cancel it "
    "(`almirant-webhooks delivery resends {replay} --cancel`)."
)
TOGETHER = (
    "An ordered webhook sends one delivery after the other, and concurrency asks for 8 at once. Take concurrency away, or "
    "set it to 1."
)
NO_TYPE = "'led.created' is not an event type. Did you mean 'lead.created'?"
NO_PATTERN = "'led.*' fits no event type. Did you mean 'lead.*'?"
BOTH = "Give switch_after or now, not both."
CANCEL = "cancel takes the new secret back and goes with nothing else."
SOON = "'soon' is not a duration; write a whole number and a unit, as in 500ms, 10s, 5m, 2h, 30d"
NO_FILTER = (
    "Say which deliveries: by project, webhook, state, status, event type, event, cause, or since when they were made. "
    "Everything at once is not sent again."
)
FULL = (
    "Project proj_full has 3 webhooks, and limits.webhooks_per_project allows 3. Delete one that is not needed, or raise "
    "the limit."
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
TOO_DEEP = json.loads("[" * 17 + "]" * 17)
DIGITS = "a number has at most 100 digits, and 15 where it has a fraction."
# What is wrong with a condition: its field, operator and value, and the sentence.
FILTERS: tuple[tuple[str, str, str, Any, str], ...] = (
    ("a path with an empty part", "data..x", "=", 1, EMPTY_KEY),
    ("a path of 10,000 parts", ".".join("a" * 10_000), "=", 1, f"the path '{'a.' * 30}…' is longer than 1,024 characters."),
    ("an object that is contained", "data.x", "contains", {"a": 1}, "contains takes a text, which is looked for in a text, or a value, which is looked for in an array."),
    ("an order of truth values", "data.x", ">", True, "> takes a number or a text."),
    ("a beginning that is a number", "data.x", "starts with", 5, "starts with takes a text; write 5 in quotes for a text."),
    ("a number of 400 digits", "data.x", "=", int("9" * 400), DIGITS),
    ("a value that is too deep", "data.x", "=", TOO_DEEP, "its value is nested deeper than 16 levels."),
    ("a value too many", "data.x", "exists", 1, "exists takes no value."),
    ("an empty list", "data.x", "in", [], "in takes a list of one value at least."),
)  # fmt: skip


def rows(*conditions: tuple[str, str, str]) -> dict[str, Any]:
    """A form's rows of a filter."""
    columns = zip(*conditions, strict=True)
    return {
        "filter": "rows",
        **dict(zip(("filter_field", "filter_op", "filter_value"), map(list, columns), strict=True)),
    }


def filtered(field: str, op: str, value: Any) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """A filter of one condition, as `new` and `changed` take it."""
    text = json.dumps(value)
    body = {"filter": [{"field": field, "op": op, "value": value}]}
    return "--where", f"{field} {op} {text}", body, rows((field, op, text))


REFUSALS: dict[str, Refusal] = {
    "a project that is none": new(PROJECT, "--project", "a b", {"project_id": "a b"}, {"project_id": "a b"}),
    "a project that is full": new(
        FULL, "--project", "proj_full", {"project_id": "proj_full"}, {"project_id": "proj_full"}
    ),
    "a pattern that fits nothing": new(NO_PATTERN, "--event", "led.*", {"events": ["led.*"]}, {"events": "led.*"}),
    "a description of two lines": new(
        ONE_LINE, "--description", "a\nb", {"description": "a\nb"}, {"description": "a\nb"}
    ),
    "a description that is too long": new(
        ONE_LINE, "--description", LONG, {"description": LONG}, {"description": LONG}
    ),
    "a change to a pattern that fits nothing": changed(
        NO_PATTERN, "--event", "led.*", {"events": ["led.*"]}, {"events": "led.*"}
    ),
    "a change to a long description": changed(
        ONE_LINE, "--description", LONG, {"description": LONG}, {"description": LONG}
    ),
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
    "a template with a placeholder in a key": told("template", IN_A_KEY, '{"{{ type }}": 1}'),
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
    "a webhook without events": Refusal(
        "A webhook subscribes to one event type at least.",
        None,  # the command asks for the option
        ("POST", "/webhooks", {**NEW, "events": []}),
        ("/webhooks", {**FORM, "events": []}),
        field="events",
    ),
    "a webhook of no project": Refusal(
        "Name the project that the webhook belongs to.",
        None,  # the command asks for the option, and the form's field is never left out
        ("POST", "/webhooks", {"url": URL, "events": ["*"]}),
        field="project_id",
    ),
    "a change of nothing": Refusal(
        "Nothing to change: give url, events, secret, description, filter, concurrency, headers, rate_limit, template or "
        "ordered.",
        ("webhook", "update", "{webhook}"),
        ("PATCH", "/webhooks/{webhook}", {}),
        code=2,
        field="body",
    ),
    "a change of what is gone": Refusal(
        f"There is no webhook {GONE}.",
        ("webhook", "update", GONE, "--description", "x"),
        ("PATCH", f"/webhooks/{GONE}", {"description": "x"}),
        (f"/webhooks/{GONE}/edit", {"url": URL, "events": "*"}),
        status=404,
        field="id",
    ),
    "to enable what is gone": gone(("enable",), "POST", "/enable", page="/enable"),
    "to disable what is gone": gone(("disable",), "POST", "/disable", page="/disable"),
    "to delete what is gone": gone(("delete", "--yes"), "DELETE", "", page="/delete"),
    "to test what is gone": gone(("test",), "POST", "/test", page="/test"),
    "to rotate the secret of what is gone": gone(("rotate-secret",), "POST", "/rotate-secret", page="/rotate-secret"),
    "to look at the secret of what is gone": gone(("show", "--secret"), "GET", "/secret", page="/secret"),
    "a test of a type that is none": Refusal(
        NO_TYPE,
        ("webhook", "test", "{webhook}", "--event", "led.created"),
        ("POST", "/webhooks/{webhook}/test", {"event_type": "led.created"}),
        ("/webhooks/{webhook}/test", {"event_type": "led.created"}),
        field="event_type",
    ),
    "a switch that is no duration": rotated(
        f"{SOON}.", ("--switch-after", "soon"), {"switch_after": "soon"}, {"switch_after": "soon"}, field="switch_after"
    ),
    "a switch that is too far away": rotated(
        "A switch is at most 30d away.",
        ("--switch-after", "31d"),
        {"switch_after": "31d"},
        {"switch_after": "31d"},
        field="switch_after",
    ),
    "a rotation at once and later": rotated(
        BOTH, ("--now", "--switch-after", "1h"), {"now": True, "switch_after": "1h"}, None, code=2, field="switch_after"
    ),
    "a rotation taken back and begun": rotated(
        CANCEL, ("--cancel", "--now"), {"cancel": True, "now": True}, None, code=2, field="cancel"
    ),
    "a rotation taken back with a secret": rotated(
        CANCEL, ("--cancel", "--secret", SECRET), {"cancel": True, "secret": SECRET}, None, code=2, field="cancel"
    ),
    "a rotation taken back that was not begun": rotated(
        "Webhook {webhook} has no new secret that could be taken back.",
        ("--cancel",),
        {"cancel": True},
        {"cancel": "1"},
        status=409,
    ),
    "a rotation while one waits": Refusal(
        "Webhook {rotating} has a new secret already, which signs from {switch_at} on. Take it back "
        "(`almirant-webhooks webhook rotate-secret {rotating} --cancel`), or switch to it with --now.",
        ("webhook", "rotate-secret", "{rotating}"),
        ("POST", "/webhooks/{rotating}/rotate-secret", {}),
        ("/webhooks/{rotating}/rotate-secret", {}),
        status=409,
    ),
    "a resend of what is gone": Refusal(
        "There is no delivery dlv_0.",
        ("delivery", "resend", "dlv_0"),
        ("POST", "/deliveries/dlv_0/resend", {}),
        ("/deliveries/dlv_0/resend", {}),
        status=404,
        field="id",
    ),
    "a resend among others of what is gone": Refusal(
        "There is no delivery dlv_0.", page=("/deliveries/resend", {"id": ["{delivery}", "dlv_0"]}), status=404
    ),
    "a resend to a disabled webhook": Refusal(
        "Webhook {off} is disabled; enable it first (`almirant-webhooks webhook enable {off}`).",
        ("delivery", "resend", "{delivery}"),
        ("POST", "/deliveries/{delivery}/resend", {}),
        ("/deliveries/{delivery}/resend", {}),
        status=409,
    ),
    "everything until now sent again": Refusal(
        NO_FILTER,
        ("delivery", "resend", "--until", "1h", "--yes"),
        ("POST", "/resends", {"until": "1h"}),
        ("/resends", {"until": "1h"}),
        field="body",
    ),
    "everything counted": Refusal(
        NO_FILTER,
        ("delivery", "resend", "--until", "1h", "--dry-run"),
        ("POST", "/resends", {"until": "1h", "dry_run": True}),
        field="body",
    ),
    "many sent again of which there is none": Refusal(
        "No delivery of an enabled webhook matches; there is nothing to resend.",
        ("delivery", "resend", "--type", "sprint.closed", "--yes"),
        ("POST", "/resends", {"event_type": "sprint.closed"}),
        ("/resends", {"event_type": "sprint.closed"}),
        status=409,
        page_status=422,
    ),
    **{
        f"a replay {what}": replayed(*values, **more)
        for what, values, more in (
            (
                "since no time",
                ("Say since when events are replayed: a time, or 2h for the last two hours.",),
                {"call": None},
            ),
            (
                "that ends before it begins",
                ("The end of a replay must be later than its begin.", "1h", "until", "2h"),
                {},
            ),
            ("of a type that is none", (NO_PATTERN, "1h", "event", "led.*"), {"code": 1}),
            ("of nothing", (NO_REPLAY, "1h", "event", "sprint.closed"), {"code": 1, "field": None, "status": 409}),
            ("to a disabled webhook", (DISABLED, "1h"), {"code": 1, "field": None, "status": 409, "webhook": "{off}"}),
            (
                "to what is gone",
                (f"There is no webhook {GONE}.", "1h"),
                {"code": 1, "field": "id", "status": 404, "page_status": 404, "webhook": GONE},
            ),
            (
                "while one is under way",
                (UNDER_WAY, "1h"),
                {"code": 1, "field": None, "status": 409, "webhook": "{rotating}"},
            ),
        )
    },
    "an event sent to a webhook that has it": sent_to(
        "The webhook has {event} already, as {delivery}; send that again (`almirant-webhooks delivery resend {delivery}`).",
        "{off}",
    ),
    "an event sent to a disabled webhook": sent_to(DISABLED.replace("{off}", "{empty}"), "{empty}"),
    "an event sent to another project's webhook": sent_to(
        "Project proj_1, which the webhook belongs to, has no event {event}.", "{webhook}", status=404, field="id"
    ),
    "an event sent to a webhook that is gone": sent_to(f"There is no webhook {GONE}.", GONE, status=404, field="id"),
    "to cancel a resend that is gone": Refusal(
        "There is no resend rsd_0.",
        ("delivery", "resends", "rsd_0", "--cancel"),
        ("POST", "/resends/rsd_0/cancel", {}),
        ("/resends/rsd_0/cancel", {}),
        status=404,
        field="id",
    ),
    "to cancel a resend that is over": Refusal(
        "{over} is over since {over_at}.",
        ("delivery", "resends", "{over}", "--cancel"),
        ("POST", "/resends/{over}/cancel", {}),
        ("/resends/{over}/cancel", {}),
        status=409,
    ),
    "a link for no project": Refusal(
        PROJECT,
        ("portal-link", "a b"),
        ("POST", "/portal-links", {"project_id": "a b"}),
        field="project_id",
    ),
    "a link that lives too long": Refusal(
        "A link lives for a second at least and 30 days at most.",
        ("portal-link", "proj_1", "--expires", "31d"),
        ("POST", "/portal-links", {"project_id": "proj_1", "expires": "31d"}),
        code=2,
        field="expires",
    ),
    "a link that lives for no duration": Refusal(
        f"expires: {SOON}.",
        ("portal-link", "proj_1", "--expires", "soon"),
        ("POST", "/portal-links", {"project_id": "proj_1", "expires": "soon"}),
        code=2,
        field="expires",
    ),
    "a producer's token for no project": Refusal(PROJECT, ("token", "--producer", "--project", "a b")),
    "a producer's token for the reserved project": Refusal(RESERVED, ("token", "--producer", "--project", "almirant")),
    "a token removed that is gone": Refusal(
        "There is no producer's token prod_0.", ("token", "--revoke", "prod_0", "--yes")
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_every_face_refuses_with_the_same_sentence_and_nothing_is_changed(faces: Faces, what: str) -> None:
    """A command with its exit code, the API with its status and field, a page with its status."""
    await check(faces, REFUSALS[what])


async def check(faces: Faces, refusal: Refusal) -> None:
    """Ask each face for what it refuses."""
    doors = faces.doors
    sentence = faces.named(refusal.sentence)
    before = doors.service.read(audit.entries, limit=1000)
    if refusal.command is not None:
        words = [faces.named(word) for word in refusal.command]
        said = await asyncio.to_thread(doors.shell.ours, *words, code=refusal.code)
        assert said == f"error: {sentence}\n"
    if refusal.call is not None:
        method, path, body = refusal.call
        if isinstance(body, dict):
            body = {name: faces.named(value) if isinstance(value, str) else value for name, value in body.items()}
        status, problem = await doors.api.call(method, f"/api/v1{faces.named(path)}", None, body)
        assert (status, problem["detail"], problem.get("field")) == (refusal.status, sentence, refusal.field)
    if refusal.page is not None:
        path, form = refusal.page
        form = {name: [faces.named(one) for one in ([value] if isinstance(value, str) else value)] for name, value in form.items()}  # fmt: skip
        status, text = await doors.page(faces.named(path), form)
        assert status == (refusal.page_status or refusal.status)
        assert sentence in html.unescape(text)
    assert doors.service.read(audit.entries, limit=1000) == before


def sentence_of(rule: Callable[[], object]) -> str:
    """Return what a rule says when it refuses."""
    with pytest.raises(Refused) as refusal:
        rule()
    return refusal.value.message


@pytest.mark.parametrize("secret", SECRETS)
async def test_a_secret_is_refused_in_the_words_of_its_rule_at_each_place_that_takes_one(
    faces: Faces, secret: str
) -> None:
    """At its creation, at a rotation and at a change."""
    sentence = sentence_of(lambda: signing.check_secret(secret))
    form = {"secret_kind": "own", "secret": secret}
    rotate_form, body = {"secret": secret, "switch_after": "24h"}, {"secret": secret}
    for refusal in (
        new(sentence, "--secret", secret, body, form),
        rotated(sentence, ("--secret", secret), body, rotate_form, field="secret"),
        replace(changed(sentence, "--secret", secret, body, {}), page=None),
    ):
        await check(faces, refusal)


@pytest.mark.parametrize("url", URLS)
async def test_a_url_is_refused_in_the_words_of_its_rule_at_each_place_that_takes_one(faces: Faces, url: str) -> None:
    """At its creation and at a change."""
    sentence = sentence_of(lambda: validation.url(url, faces.doors.service.settings().policy()))
    for make in (new, changed):
        await check(faces, make(sentence, "--url", url, {"url": url}, {"url": url}))


async def test_everything_that_is_wrong_is_said_at_once(faces: Faces) -> None:
    """By the form beside each field; the API names the first."""
    wrong = {"project_id": "a b", "url": "https://", "events": ["led.*"], "secret": "short", "description": LONG}
    condition = {"field": "x", "op": "", "value": 1}
    options = {"filter": [condition], "concurrency": 65, "rate_limit": "10/fortnight"}
    with pytest.raises(Refused) as refusal:
        run_action(
            actions.create(
                CommandDatabase(faces.doors.service.settings()),
                caller(),
                now=clock.now(),
                settings=faces.doors.service.settings(),
                **wrong,  # type: ignore[arg-type]
                options=options,
            )
        )
    sentences = refusal.value.by_field()
    assert list(sentences) == [*wrong, *options]
    status, problem = await faces.doors.api.call("POST", "/api/v1/webhooks", None, {**wrong, **options})
    assert (status, problem["field"], problem["detail"]) == (422, "project_id", sentences["project_id"])
    form = {**wrong, **options, "secret_kind": "own", "concurrency": "65", **rows(("x", "", "1"))}
    status, text = await faces.doors.page("/webhooks", form)
    assert status == 422
    assert all(sentence in html.unescape(text) for sentence in sentences.values())
