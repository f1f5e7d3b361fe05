"""Odd input that is no fault is taken alike by command, API and page."""

from __future__ import annotations

import asyncio
import html
import json
import re
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks

from .conftest import URL, Faces, rows

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUOTES = '", "injected": "'
_BODY = re.compile(r'<pre class="payload"[^>]*>(.*?)</pre>', re.DOTALL)


def condition(field: str, value: object) -> tuple[str, tuple[str, ...], object, dict[str, Any], object]:
    """A filter of one condition for a field: as the command, the API and the form are told, and as it is kept."""
    text, kept = json.dumps(value), [{"field": field, "op": "=", "value": value}]
    return "filter", ("--where", f"{field} = {text}"), kept, rows((field, "=", text)), kept


# The option, how command, API and form are told it, and what is kept.
ODD: dict[str, tuple[str, tuple[str, ...], object, dict[str, Any], object]] = {
    "a field name with dots": condition('data["a.b"].c', "x"),
    "a field name with quotes": condition('data["say \\"hi\\""]', "x"),
    "a number of as many digits as there may be": condition("data.n", int("9" * 100)),
    "a text that looks like a number": condition("data.n", "5"),
    "a header whose name is in odd case": (
        "headers",
        ("--header", "x-TeAm: 7"),
        {"x-TeAm": "7"},
        {"header_name": "x-TeAm", "header_value": "7"},
        {"x-TeAm": "(masked)"},
    ),
    "the highest limit": ("rate_limit", ("--rate-limit", "10000/s"), "10000/s", {"rate_limit": "10000/s"}, "10000/s"),
    "braces that are text": (
        "template",
        ("--template", '{"a": "} }} {x}"}'),
        '{"a": "} }} {x}"}',
        {"template": '{"a": "} }} {x}"}'},
        '{"a": "} }} {x}"}',
    ),
}


@pytest.mark.long
async def test_each_face_keeps_the_same_of_it_and_shows_it(faces: Faces) -> None:
    """Field names with dots and quotes, numbers and names as they are typed."""
    doors = faces.doors
    path = f"/webhooks/{doors.webhook}"
    for what, (name, command, told, form, kept) in ODD.items():
        words = ("webhook", "update", doors.webhook, *command)
        await asyncio.to_thread(doors.shell.ours, *words)
        by_command = _kept(faces, name)
        status, answer = await doors.api.call("PATCH", f"/api/v1{path}", None, {name: told})
        assert (status, answer[name]) == (200, kept), what
        by_api = _kept(faces, name)
        status, _ = await doors.page(f"{path}/edit", {"url": URL, "events": "*", **form})
        assert status == 303, what
        shown = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "show", doors.webhook, "--json"))
        assert shown[name] == kept, what
        page = html.unescape(await doors.pages.get(f"{path}/edit", "proj_1"))
        assert all(value in page for value in _texts(form)), what
        assert by_command == by_api == _kept(faces, name) == kept, what


def _kept(faces: Faces, name: str) -> object:
    """Return an option of the webhook, and take it away for the next face."""
    service, webhook = faces.doors.service, faces.doors.webhook
    kept = getattr(service.read(webhooks.get, webhook), name)
    service.write(webhooks.update, webhook, options={name: None}, now=clock.now())
    return kept


def _texts(form: dict[str, Any]) -> list[str]:
    """Return what the form shows of what it was told; a header's value is not shown."""
    return [form["header_name"]] if "header_name" in form else [form.get("filter_field", [""])[0]]


@pytest.mark.long
async def test_a_text_with_quotes_adds_nothing_to_what_a_template_makes(faces: Faces) -> None:
    """The sample of the catalogue has no such text, and a real event has: each face shows the message that it is."""
    doors = faces.doors
    template = '{"text": "<{{ data.text }}>", "is": {{ data.text }}}'
    doors.service.insert({"text": QUOTES})
    await doors.service.until(lambda: doors.service.log(webhook_id=doors.webhook))
    asked = {"webhook_id": doors.webhook, "template": template}
    status, answer = await doors.api.call("POST", "/api/v1/webhooks/preview", None, asked)
    words = ("webhook", "preview", doors.webhook, "--template", template, "--json")
    said = json.loads(await asyncio.to_thread(doors.shell.ours, *words))
    page_status, page = await doors.page(f"/webhooks/{doors.webhook}/preview", {"events": "*", "template": template})
    assert (status, page_status, said) == (200, 200, answer)
    for body in (answer["bodies"][0]["body"], html.unescape(_BODY.findall(page)[0])):
        assert json.loads(body) == {"text": f"<{QUOTES}>", "is": QUOTES}
