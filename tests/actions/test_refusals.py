"""What cannot be done to a webhook is refused with one sentence, whether a command, the API or a page was asked."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import webhooks as actions
from almirant_webhooks.cli.run_action import CommandDatabase, caller, run_action
from almirant_webhooks.model import Refused
from almirant_webhooks.rules import signing, urls
from almirant_webhooks.rules.validation import MAX_DESCRIPTION

from ..support.service import SECRET
from .conftest import FORM, GONE, NEW, NO_PATTERN, PROJECT, SOON, URL, Faces, Refusal, changed, check, new, rows

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Secrets and URLs that are refused; what the rule says of each is asked of the rule.
SECRETS = ("short", f"{SECRET} ", "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo", "a text\tof 17 bytes", "x" * 257)
URLS = ("https://", "http://example.com/in", "https://10.0.0.1/", "https://u:p@example.com/", f"{URL}#x")
LONG = "x" * (MAX_DESCRIPTION + 1)
ONE_LINE = f"A description is one line of at most {MAX_DESCRIPTION} characters."
NO_TYPE = "'led.created' is not an event type. Did you mean 'lead.created'?"
BOTH = "Give switch_after or now, not both."
CANCEL = "cancel takes the new secret back and goes with nothing else."
FULL = (
    "Project proj_full has 3 webhooks, and a project may have 3. Delete one that is not needed, or ask your operator to "
    "allow more."
)


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


REFUSALS: dict[str, Refusal] = {
    "a project that is none": new(PROJECT, "--project", "a b", {"project_id": "a b"}, {"project_id": "a b"}),
    "a project that is full": replace(
        new(FULL, "--project", "proj_full", {"project_id": "proj_full"}, {"project_id": "proj_full"}),
        way=" The configuration has the number at limits.webhooks_per_project.",
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
    "a rotation taken back that has switched": Refusal(
        "Webhook {switched} has switched to its new secret at {switched_at} already.",
        ("webhook", "rotate-secret", "{switched}", "--cancel"),
        ("POST", "/webhooks/{switched}/rotate-secret", {"cancel": True}),
        ("/webhooks/{switched}/rotate-secret", {"cancel": "1"}),
        status=409,
    ),
    "a rotation while one waits": Refusal(
        "Webhook {rotating} has a new secret already, which signs from {switch_at} on. Keep the old "
        "secret, or switch to the new one now.",
        ("webhook", "rotate-secret", "{rotating}"),
        ("POST", "/webhooks/{rotating}/rotate-secret", {}),
        ("/webhooks/{rotating}/rotate-secret", {}),
        status=409,
        way=" Say --cancel or --now.",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_every_face_refuses_with_the_same_sentence_and_nothing_is_changed(faces: Faces, what: str) -> None:
    """A command with its exit code, the API with its status and field, a page with its status."""
    await check(faces, REFUSALS[what])


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
    sentence = sentence_of(lambda: urls.check_url(url, faces.doors.service.settings().policy()))
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
