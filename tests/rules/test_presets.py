"""Ready templates: they read well, stay what they were, and keep to each chat's published rules whatever an event holds."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almirant_webhooks.model import Refused
from almirant_webhooks.rules import paths, presets, templates
from almirant_webhooks.rules.event_schemas import sample_body
from almirant_webhooks.rules.event_types import CATALOGUE
from almirant_webhooks.rules.messages import describe
from almirant_webhooks.rules.templates import CannotRender

from ..support.chats import CHECKS

MESSAGES = Path(__file__).parents[1] / "fixtures" / "chat-messages.json"
NOTICES = (
    "almirant.webhook.failing",
    "almirant.webhook.recovered",
    "almirant.webhook.disabled",
    "almirant.delivery.failed",
)
WEBHOOK = {"id": "wh_sample", "projectId": "proj_1", "host": "example.com"}
NOTICE_DATA: dict[str, dict[str, Any]] = {
    "almirant.webhook.failing": {
        "webhook": WEBHOOK, "failingSince": "2026-11-23T08:00:00.000Z", "failuresInARow": 12, "lastSuccessAt": None,
    },
    "almirant.webhook.recovered": {"webhook": WEBHOOK, "lastSuccessAt": "2026-11-23T10:00:00.000Z"},
    "almirant.webhook.disabled": {
        "webhook": WEBHOOK, "disabledAt": "2026-11-28T08:30:00.000Z", "failingSince": "2026-11-23T08:00:00.000Z",
        "lastSuccessAt": None, "cause": "the receiver answered 503",
    },
    "almirant.delivery.failed": {
        "delivery": {
            "id": "dlv_sample", "eventId": "evt_sample", "eventType": "lead.created", "attempts": 5,
            "lastAttempt": {"outcome": "http_error", "statusCode": 503, "cause": "the receiver answered 503"},
        },
        "webhook": WEBHOOK, "count": 3,
    },
}  # fmt: skip
KINDS = (*CATALOGUE, *NOTICES, "deploy.finished")


def body(kind: str) -> str:
    """The body of a sample event."""
    sample = sample_body(kind)
    return json.dumps({**sample, "data": NOTICE_DATA.get(kind, sample["data"])}, ensure_ascii=False)


def as_read(name: str, rendered: str) -> str:
    """What people read of a message: its texts, with its markup and escapes taken away."""
    message = json.loads(rendered)
    texts: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, str) and key in ("text", "content", "title", "value", "topLabel"):
                    texts.append(inner)
                elif key != "fallbackText":
                    walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(message)
    text = "\n".join(texts)
    if name in ("slack", "google-chat"):
        text = html.unescape(re.sub(r"</?[bi]>", "", text))
        return text if name == "google-chat" else text.replace("*", "")
    return re.sub(r"\\([^0-9A-Za-z\s])", r"\1", text.replace("**", ""))


SAID = {
    "work_item.created": ("Work item created: SHOP-214 Cart loses items after login", "high", "Backlog", "Inés Prado"),
    "work_item.updated": ("Work item updated: SHOP-214", "high → urgent"),
    "work_item.moved": ("Work item moved: SHOP-214", "In progress", "In review", "Inés Prado"),
    "work_item.archived": ("Work item archived: SHOP-214",),
    "lead.created": ("New lead: Marta Olsen (Fjord & Søn)", "18500 EUR", "New", "contact form"),
    "lead.updated": ("Lead updated: Marta Olsen", "18500 → 21000"),
    "lead.stage_changed": ("Lead changed stage: Marta Olsen", "Negotiation", "Won"),
    "sprint.created": ("Sprint created: Sprint 31", "2026-11-16 to 2026-11-27"),
    "sprint.closed": ("Sprint closed: Sprint 31", "23", "4"),
    "almirant.webhook.failing": ("Deliveries to example.com are failing", "2026-11-23 08:00 UTC", "12", "never"),
    "almirant.webhook.recovered": ("Deliveries to example.com arrive again", "2026-11-23 10:00 UTC"),
    "almirant.webhook.disabled": ("The webhook to example.com was switched off", "the receiver answered 503", "enable"),
    "almirant.delivery.failed": (
        "3 deliveries to example.com have failed",
        "lead.created",
        "the receiver answered 503",
    ),
    "deploy.finished": ("deploy.finished",),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", presets.NAMES)
def test_a_message_says_what_has_happened(name: str, kind: str) -> None:
    """Of each type and notice, with the project, the type and the time; a value is said once."""
    text = as_read(name, templates.render(presets.newest(name), body(kind)))
    for words in (*SAID[kind], "proj_1", kind, "2026-11-23 09:00 UTC"):
        assert words in text, text
    assert "{" not in text


@pytest.mark.parametrize("name", presets.NAMES)
def test_a_message_says_that_a_secret_cannot_be_opened(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that, and no failures, made the service disable the webhook."""
    kind = "almirant.webhook.disabled"
    data = {key: value for key, value in NOTICE_DATA[kind].items() if key != "failingSince"}
    monkeypatch.setitem(
        NOTICE_DATA, kind, {**data, "cause": "the secret of wh_1 cannot be opened: the key k1 does not open it"}
    )
    text = as_read(name, templates.render(presets.newest(name), body(kind)))
    for words in (
        "switched off, as its secret cannot be opened",
        "Give it a new secret",
        "the secret of wh_1 cannot be opened: the key k1 does not open it",
    ):
        assert words in text
    assert "everything failed" not in text


def test_the_messages_of_a_version_never_change() -> None:
    """Who chose it gets the same after an upgrade: other words are a new version, and this file keeps those of the old one."""
    kept = json.loads(MESSAGES.read_text())
    assert kept.keys() == {
        f"{name}@{number}" for name in presets.NAMES for number in range(1, len(presets._VERSIONS[name]) + 1)
    }
    for template, messages in kept.items():
        for kind, message in messages.items():
            assert json.loads(templates.render(template, body(kind))) == message, (template, kind)


def test_a_ready_template_is_kept_by_name_and_version() -> None:
    """A name is its newest version; a version that is given stays; one that is not there is refused, and fails its deliveries alone."""
    for name in presets.NAMES:
        assert templates.check(f" {name} ") == templates.check(f"{name}@1") == f"{name}@1"
    for wrong in ("slak", "slack@2", "slack@0", "mattermost"):
        with pytest.raises(
            Refused, match=r"There is no ready template .*: there are slack, discord, teams, google-chat"
        ):
            templates.check(wrong)
    assert templates.check("true") == "true"
    with pytest.raises(CannotRender, match="does not know the template slack@99"):
        templates.render("slack@99", "{}")


HOSTILE = ("<!channel> & <@U1>", "@everyone", "*b* _i_ ~s~ `c` [l](http://x) # h", "{{DATE(2026-01-01,SHORT)}}", "\n- a\n> b", "<b>x</b>", "&amp;", "\ud800", "\0", "𝕏" * 3_000, "&" * 5_000, "\\" * 5_000, "*" * 5_000)  # fmt: skip
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=40)
values = st.recursive(
    texts | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=10),
    max_leaves=12,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ("key", "title", "id", "priority", "column", "name", "company", "value", "host", "cause"), texts | values
        ),
    },
)
data = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("workItem", "lead", "sprint", "actor", "webhook", "delivery"), fields | values),
        **dict.fromkeys(("from", "to", "source", "completed", "count"), values),
        "changes": st.dictionaries(texts, fields | st.fixed_dictionaries({"from": values, "to": values}), max_size=12)
        | values,
    },
)


@pytest.mark.parametrize("name", presets.NAMES)
@settings(max_examples=25)
@given(kind=st.sampled_from(KINDS), data=data | values)
def test_a_message_keeps_to_the_rules_of_its_chat_whatever_an_event_holds(name: str, kind: str, data: Any) -> None:
    """Its lengths, its sizes, and what it takes for markup."""
    rendered = templates.render(presets.newest(name), json.dumps({**sample_body(kind), "data": data}))
    rendered.encode()
    CHECKS[name](json.loads(rendered))


@pytest.mark.parametrize("name", presets.NAMES)
@pytest.mark.parametrize("text", HOSTILE)
def test_the_longest_message_is_within_the_limits(name: str, text: str) -> None:
    """Each field as hostile and as long as it can be."""
    changes = {f"{number}{text}": {"from": text, "to": text} for number in range(12)}
    item = {"key": text, "title": text, "priority": text}
    hostile = {"workItem": item, "changes": changes, "from": text, "to": text, "actor": {"name": text}}
    CHECKS[name](json.loads(templates.render(presets.newest(name), json.dumps({**sample_body("work_item.updated"), "projectId": text, "data": hostile}))))  # fmt: skip


@pytest.mark.parametrize(
    "text", ["{}", "[]", "1", '{"type": [[[]]], "data": null}', '{"type": "lead.created", "data": {"lead": []}}']
)
def test_a_body_of_any_shape_has_a_message(text: str) -> None:
    """Producers leave out what the samples have."""
    assert describe(paths.read(text)).title


def test_a_deep_value_is_described_without_recursion() -> None:
    """However deep it is."""
    deep = "[" * 5_000 + "]" * 5_000
    message = describe(paths.read(f'{{"type": "deploy.finished", "data": {{"a": {deep}, "b": [{deep}]}}}}'))
    assert message.title == "deploy.finished"
