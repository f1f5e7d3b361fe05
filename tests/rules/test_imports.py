"""Exports of other services, good and hostile: what cannot be read is said with its place, and nothing of it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almirant_webhooks.model import Refused
from almirant_webhooks.rules import filters
from almirant_webhooks.rules.bodies import Body
from almirant_webhooks.rules.imports import SOURCES, Choices, convoy, outpost, svix, their_filters
from almirant_webhooks.rules.imports.document import Node, read
from almirant_webhooks.rules.imports.plan import MAX_WEBHOOKS, Plan, Planned, set_rate

PROJECT = Choices("proj_1")
ENDPOINT = {"id": "ep_1", "url": "https://example.com/"}
CONVOY = {"uid": "e", "url": "https://example.com/", "project_id": "p", "secrets": []}
SUBSCRIPTION = {"uid": "s", "endpoint_metadata": {"uid": "e"}, "filters": [{"event_type": "*"}]}
DESTINATION = {"id": "d", "type": "webhook", "topics": "*", "config": {"url": "https://example.com/"}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The file is empty"),
        (b"{", "not JSON: line 1"),
        (b"\xff\xfe{\x00}\x00", "UTF-16"),
        (b'"\xe9"', "not text in UTF-8: byte 1"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 10_000, "number that cannot be read"),
        (b" " * (64 * 1024 * 1024 + 1), "more than 64 MiB"),
    ],
    ids=range(8),
)
def test_a_file_that_is_no_json_is_refused_with_the_place(content: bytes, words: str) -> None:
    """Whatever it is, in a sentence."""
    with pytest.raises(Refused, match=words):
        read(content)


def test_a_byte_order_mark_of_utf_8_does_no_harm() -> None:
    """Editors on Windows put it there."""
    assert read(b"\xef\xbb\xbf[]").items() == []


@pytest.mark.parametrize(
    ("source", "content", "words"),
    [
        ("svix", 1, "$: applications is missing."),
        ("convoy", [], "$: it must be an object, and is a list."),
        ("svix", {}, "$: applications is missing."),
        ("svix", {"applications": [{"id": "a"}]}, "$.applications[0]: endpoints is missing."),
        ("svix", {"applications": [{"id": 1, "endpoints": []}]}, "$.applications[0].id: it must be text, and is a whole number."),
        ("svix", {"applications": {"data": [], "done": False}}, "$.applications: it is one page of several"),
        ("svix", {"applications": [{"id": "a", "endpoints": [{"id": "e"}]}]}, "$.applications[0].endpoints[0]: url is missing."),
        ("svix", {"applications": [{"id": "a", "endpoints": [ENDPOINT, ENDPOINT]}]}, "$.applications[0].endpoints[1]: its id is there already, at $.applications[0].endpoints[0]."),
        ("svix", {"applications": [{"id": "a", "endpoints": [{**ENDPOINT, "url": "x" * 70_000}]}]}, "endpoints[0].url: it has 70,000 characters"),
        ("svix", {"applications": [{"id": "\ud800", "endpoints": []}]}, "half of a surrogate pair"),
        ("svix", {"applications": [{"id": "a", "endpoints": [{**ENDPOINT, "throttleRate": 1.5}]}]}, "throttleRate: it must be a whole number, and is a number."),
        ("svix", {"applications": [{"id": "a", "endpoints": [{**ENDPOINT, "throttleRate": 10**4000}]}]}, "throttleRate: it is a number of more than 64 bits."),
        ("svix", {"applications": [{"id": "a", "endpoints": [{**ENDPOINT, "eventTypes": "x"}]}]}, "eventTypes: it must be a list, and is text."),
        ("svix", {"applications": [{"id": "a", "endpoints": [{**ENDPOINT, "headers": {"a b": 1}}]}]}, '.headers["a b"]: it must be text'),
        ("convoy", {"endpoints": []}, "$: subscriptions is missing."),
        ("convoy", {"endpoints": [CONVOY, CONVOY], "subscriptions": []}, "$.endpoints[1]: its uid is there already, at $.endpoints[0]."),
        ("convoy", {"endpoints": {"data": {"content": [], "pagination": {"has_next_page": True}}}, "subscriptions": []}, "$.endpoints: it is one page of several"),
        ("convoy", {"endpoints": [], "subscriptions": [SUBSCRIPTION]}, "$.subscriptions[0]: its endpoint is not among endpoints"),
        ("convoy", {"endpoints": [CONVOY], "subscriptions": [SUBSCRIPTION, SUBSCRIPTION]}, "$.subscriptions[1]: its id is there already"),
        ("outpost", {"tenants": [{"id": "t"}]}, "$.tenants[0]: destinations is missing."),
        ("outpost", {"tenants": {"models": [], "pagination": {"next": "x"}}}, "$.tenants: it is one page of several"),
        ("outpost", {"tenants": [{"id": "t", "destinations": [{**DESTINATION, "config": {"url": "u", "custom_headers": "no"}}]}]}, "config.custom_headers: it must be the JSON of an object as text."),
        ("outpost", {"tenants": [{"id": "t", "destinations": "x"}]}, "$.tenants[0].destinations: it must be an object"),
    ],
    ids=range(23),
)  # fmt: skip
def test_a_wrong_shape_is_refused_with_its_place(source: str, content: Any, words: str) -> None:
    """Before anything is made."""
    with pytest.raises(Refused) as refused:
        SOURCES[source](Node(content), Choices())
    assert words in refused.value.message


def test_a_file_with_more_than_can_be_looked_at_is_refused() -> None:
    """A hundred thousand endpoints, say: split the file."""
    content = [{"id": f"ep_{number}", "url": "https://example.com/"} for number in range(MAX_WEBHOOKS + 1)]
    with pytest.raises(Refused, match=f"more than {MAX_WEBHOOKS:,} webhooks"):
        svix.plan(Node(content), PROJECT)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "applications",
                    "endpoints",
                    "subscriptions",
                    "tenants",
                    "destinations",
                    "data",
                    "content",
                    "id",
                    "uid",
                    "url",
                ]
            )
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(_json, st.sampled_from(sorted(SOURCES)))
def test_whatever_a_file_holds_it_is_planned_or_refused(content: object, source: str) -> None:
    """No other error."""
    try:
        SOURCES[source](Node(content), PROJECT)
    except Refused as refused:
        assert refused.message.startswith("$")  # noqa: PT017


@pytest.mark.parametrize(
    ("count", "seconds", "rate", "exact"),
    [
        (20, 1, "20/s", True), (300, 60, "300/m", True), (5000, 3600, "5000/h", True), (100, 30, "3/s", False),
        (1, 5, "12/m", False), (1, 86_400, "1/h", False), (70_000, 1, "10000/s", False), (0, 60, None, True), (5, 0, None, True),
    ],
)  # fmt: skip
def test_a_rate_is_kept_or_brought_to_one_that_can_be_said(
    count: int, seconds: int, rate: str | None, exact: bool
) -> None:
    """Where it is not the same, the output says what it became."""
    planned = Planned("$", "o", "p", "u", ("*",), None)
    set_rate(planned, count, seconds)
    assert planned.options.get("rate_limit") == rate
    assert bool(planned.lost) is not exact


@pytest.mark.parametrize(
    ("written", "body", "holds"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a.b": {"$gte": 5, "$lt": 9}}, {"a": {"b": 5}}, True),
        ({"a": {"b": {"$gte": 5, "$lt": 9}}}, {"a": {"b": 9}}, False),
        ({"a": {"$in": ["x", "y"]}}, {"a": "y"}, True),
        ({"a": {"$nin": ["x", "y"]}}, {"a": "y"}, False),
        ({"a": {"$neq": None}}, {"a": None}, False),
        ({"a": {"$exist": False}}, {}, True),
        ({"$and": [{"a": "x"}, {"b": {"$startsWith": "y"}}]}, {"a": "x", "b": "yz"}, True),
        ({"a b": {"$endsWith": "z"}}, {"a b": "yz"}, True),
    ],
    ids=range(9),
)
def test_a_filter_means_the_same_here(written: dict[str, Any], body: dict[str, Any], holds: bool) -> None:
    """As conditions on the payload, which is the body's `data`."""
    checked = filters.check(their_filters.conditions(written, "data"))
    assert checked is not None
    root = json.loads(json.dumps({"data": body}))
    unmet = filters.compiled(filters.text_of(checked)).unmet(Body.of(json.dumps(root)))
    assert (unmet is None) is holds


@pytest.mark.parametrize(
    "written",
    [{"$or": []}, {"a": {"$not": {}}}, {"a": {"$regex": "x"}}, {"a": [1]}, {"a": {"$in": "x"}}, {"a": {"$eq": {}}}, {"items.$.a": 1}, {"a": {"$gt": True}}, {"$and": 1}, {"a": {"$exist": 1}}],
    ids=str,
)  # fmt: skip
def test_a_filter_that_no_condition_says_is_named(written: dict[str, Any]) -> None:
    """Never half of it."""
    with pytest.raises(their_filters.NoEqual):
        their_filters.conditions(written, "data")


def test_a_filter_that_is_nested_without_end_is_none() -> None:
    """It does not end the program."""
    written: dict[str, Any] = {}
    for _ in range(900):
        written = {"a": written}
    with pytest.raises(their_filters.NoEqual):
        their_filters.conditions(written, "data")


def _svix(**fields: Any) -> Planned:
    (planned,) = svix.plan(Node([{**ENDPOINT, **fields}]), PROJECT).webhooks
    return planned


def _convoy(**fields: Any) -> Planned:
    content = {"endpoints": [{**CONVOY, **fields}], "subscriptions": [SUBSCRIPTION]}
    (planned,) = convoy.plan(Node(content), PROJECT).webhooks
    return planned


def _outpost(**fields: Any) -> Planned:
    (planned,) = outpost.plan(Node([{**DESTINATION, **fields}]), PROJECT).webhooks
    return planned


@pytest.mark.parametrize(
    ("planned", "name", "off", "on"),
    [
        (_svix, "disabled", [True], [False, None]),
        (_convoy, "status", ["inactive", "paused"], ["active", None]),
        (_outpost, "disabled_at", ["2025-05-01T09:00:00Z"], [None]),
    ],
    ids=SOURCES,
)
def test_what_is_disabled_there_is_disabled_here(
    planned: Callable[..., Planned], name: str, off: list[Any], on: list[Any]
) -> None:
    """For that alone, not as one that would send its receiver something else; and nothing else is."""
    for value in off:
        assert not planned(**{name: value}).enabled
        assert planned(**{name: value}).differs == []
    assert all(planned(**{name: value}).enabled for value in on)


def test_what_convoy_sends_otherwise_is_named() -> None:
    """OAuth, client certificates, functions, forms, filters on headers: made disabled. Notices, retries: only said."""
    endpoint = {
        **CONVOY,
        "authentication": {"type": "oauth2"},
        "mtls_client_cert": {"x": 1},
        "content_type": "application/x-www-form-urlencoded",
        "slack_webhook_url": "https://hooks.slack.com/x",
        "http_timeout": 30,
    }
    subscription = {
        **SUBSCRIPTION,
        "function": "f()",
        "filters": {"data": [{"event_type": "*", "headers": {"a": 1}}]},
        "retry_config": {"x": 1},
        "alert_config": {"x": 1},
        "rate_limit_config": {"x": 1},
        "delivery_mode": "at_most_once",
    }
    (planned,) = convoy.plan(Node({"endpoints": [endpoint], "subscriptions": [subscription]}), Choices()).webhooks
    assert len(planned.differs) == 5
    assert len(planned.lost) == 6
    assert (planned.project_id, planned.events, planned.secret) == ("p", ("*",), None)


def _of_filters(*filters: dict[str, Any], **subscription: Any) -> Plan:
    content = {"endpoints": [CONVOY], "subscriptions": [{**SUBSCRIPTION, "filters": list(filters), **subscription}]}
    return convoy.plan(Node(content), Choices())


def test_event_types_with_different_filters_become_a_webhook_of_each_filter() -> None:
    """Those with the same one are together; those that are off are left out; none has more events than there."""
    plan = _of_filters(
        {"event_type": "a.b", "body": {"x": 1}, "enabled_at": "2025-01-01T00:00:00Z"},
        {"event_type": "a.a", "body": {"x": 1}},
        {"event_type": "c.d", "body": {}},
        {"event_type": "e.f", "enabled_at": None},
    )
    assert [(planned.origin, planned.events, planned.options.get("filter")) for planned in plan.webhooks] == [
        ("convoy:s/a.a", ("a.b", "a.a"), [{"field": "data.x", "op": "=", "value": 1}]),
        ("convoy:s/c.d", ("c.d",), None),
    ]
    assert not any(planned.differs for planned in plan.webhooks)


def test_filters_that_are_not_known_or_exclude_each_other_leave_the_webhook_disabled() -> None:
    """A file without them, and a filter for `*` beside others, which there holds for the rest alone."""
    (planned,) = _of_filters(
        filters=None, filter_config={"event_types": ["a.b"], "filter": {"body": {"x": 1}}}
    ).webhooks
    assert planned.events == ("a.b",)
    assert "filters" in planned.differs[0]
    both = _of_filters({"event_type": "*", "body": {"x": 1}}, {"event_type": "a.b"}).webhooks
    assert all("Its filter for *" in planned.differs[0] for planned in both)
    assert [skip.reason for skip in _of_filters().skipped] == ["All of its event types are off."]


def test_basic_authentication_becomes_a_header() -> None:
    """And what of Convoy sends nothing, or takes in webhooks of others, is skipped with the reason."""
    endpoint = {**CONVOY, "authentication": {"type": "basic_auth", "basic_auth": {"username": "u", "password": "é"}}}
    content = {
        "endpoints": [endpoint, {**CONVOY, "uid": "unused"}],
        "subscriptions": [
            SUBSCRIPTION,
            {**SUBSCRIPTION, "uid": "in", "source_metadata": {"uid": "x"}},
            {**SUBSCRIPTION, "uid": "cli", "type": "cli"},
            {"uid": "alone"},
        ],
    }
    plan = convoy.plan(Node(content), Choices())
    assert plan.webhooks[0].options["headers"] == {"Authorization": "Basic dTrDqQ=="}
    assert len(plan.skipped) == 4


def test_what_older_servers_of_svix_call_by_other_names_is_read() -> None:
    """Up to 1.98 event types are `filterTypes`, and earlier a rate is `rateLimit`; without them it would get all, at any rate."""
    content = {
        "applications": [
            {"id": "a", "rateLimit": 9, "endpoints": [{**ENDPOINT, "filterTypes": ["a.b"], "rateLimit": 5}]}
        ]
    }
    (planned,) = svix.plan(Node(content), Choices()).webhooks
    assert (planned.events, planned.options["rate_limit"]) == (("a.b",), "5/s")
    assert planned.lost == ["The application's throttleRate, which is of all its endpoints together."]
    assert _svix(eventTypes=["c.d"], filterTypes=["a.b"], throttleRate=7, rateLimit=5).events == ("c.d",)


def test_a_secret_of_svix_without_its_prefix_is_the_same_secret() -> None:
    """Its libraries decode it with the prefix and without."""
    plan = svix.plan(Node([{**ENDPOINT, "secret": {"key": "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}}]), PROJECT)
    assert plan.webhooks[0].secret == "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def test_a_header_whose_value_svix_does_not_give_leaves_the_webhook_disabled() -> None:
    """The line has the command that adds it; a header that is given is kept."""
    headers = {"headers": {"X-A": "1"}, "sensitive": ["Authorization"]}
    plan = svix.plan(Node([{**ENDPOINT, "headers": headers, "metadata": {"a": "b"}}]), PROJECT)
    assert plan.webhooks[0].options["headers"] == {"X-A": "1"}
    assert "--header 'Authorization: …'" in plan.webhooks[0].differs[0]
