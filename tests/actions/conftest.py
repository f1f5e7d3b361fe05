"""What the tests of refusals share: a daemon with its three faces, and how each is asked for what it refuses."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from almirant_webhooks import clock
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import audit, project_tokens, resends, rotation, webhooks

from ..support.engines import service_on
from ..support.service import SECRET
from ..web.conftest import doors as doors
from ..web.test_refusals import Doors

URL = "https://example.com/in"
GONE = "wh_0"
NEW = {"project_id": "proj_1", "url": URL, "events": ["*"]}
FORM = {"project_id": "proj_1", "url": URL, "events": "*", "secret_kind": "generated"}
PROJECT = "A project id is 1 to 128 printable ASCII characters without spaces."
NO_PATTERN = "'led.*' fits no event type. Did you mean 'lead.*'?"
SOON = "'soon' is not a duration; write a whole number and a unit, as in 500ms, 10s, 5m, 2h, 30d"


@dataclass(frozen=True)
class Refusal:
    """A sentence, and how each face is asked for what it refuses: None where a face has no such thing."""

    sentence: str
    command: tuple[str, ...] | None = None
    call: tuple[str, str, object] | None = None
    page: tuple[str, dict[str, Any] | None] | None = None  # without a form it is looked at
    code: int = 1
    status: int = 422
    page_status: int | None = None
    field: str | None = None
    way: str = ""  # what a command says behind the sentence: what to do there


@dataclass
class Faces:
    """A daemon with its three faces, and the names of what there is."""

    doors: Doors
    names: dict[str, str] = field(default_factory=dict)

    def named(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(f"{{{name}}}", value)
        return text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faces(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> AsyncIterator[Faces]:
    """One for all tests of a module: what they ask for is refused, and changes nothing."""
    with service_on(engine_name, tmp_path_factory.mktemp("faces")) as service:
        service.options["limits"] = {"webhooks_per_project": 3}
        try:
            address = await service.serve()
            async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
                yield await _furnished(Doors(service, client))
        finally:
            await service.close()


async def _furnished(doors: Doors) -> Faces:
    """Make a webhook that rotates, one that is disabled with a delivery held, a project that is full, a resend that is over."""
    service = doors.service
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
    switched = service.webhook(URL, project="proj_off").id
    rotated = service.write(rotation.start, switched, secret=SECRET, switch_at=now, actor="operator", now=now)
    token = service.write(project_tokens.add, digest="0", project_id="proj_1", name="deploy", actor="operator", now=now)
    empty = service.webhook(URL, project="proj_off").id
    service.write(webhooks.disable, empty, now)
    return Faces(
        doors,
        {
            "webhook": doors.webhook,
            "several": service.webhook(URL, project="proj_off", concurrency=8).id,
            "in_order": service.webhook(URL, project="proj_off", ordered=True).id,
            "rotating": rotating,
            "switch_at": started["switch_at"],
            "switched": switched,
            "switched_at": rotated["switch_at"],
            "token": token["name"],
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


def rows(*conditions: tuple[str, str, str]) -> dict[str, Any]:
    """A form's rows of a filter."""
    columns = zip(*conditions, strict=True)
    return {
        "filter": "rows",
        **dict(zip(("filter_field", "filter_op", "filter_value"), map(list, columns), strict=True)),
    }


async def check(faces: Faces, refusal: Refusal) -> None:
    """Ask each face for what it refuses."""
    doors = faces.doors
    sentence = faces.named(refusal.sentence)
    before = _state(faces)
    if refusal.command is not None:
        words = [faces.named(word) for word in refusal.command]
        said = await asyncio.to_thread(doors.shell.ours, *words, code=refusal.code)
        assert said == f"error: {sentence}{refusal.way}\n"
    if refusal.call is not None:
        method, path, body = refusal.call
        if isinstance(body, dict):
            body = {name: faces.named(value) if isinstance(value, str) else value for name, value in body.items()}
        status, problem = await doors.api.call(method, f"/api/v1{faces.named(path)}", None, body)
        assert (status, problem["detail"], problem.get("field")) == (refusal.status, sentence, refusal.field)
    if refusal.page is not None:
        path, form = refusal.page
        form = form and {name: [faces.named(one) for one in ([value] if isinstance(value, str) else value)] for name, value in form.items()}  # fmt: skip
        status, text = await doors.page(faces.named(path), form)
        assert status == (refusal.page_status or refusal.status)
        assert sentence in html.unescape(text)
    assert _state(faces) == before


def _state(faces: Faces) -> tuple[object, ...]:
    """What a refusal leaves as it was: the audit trail, the deliveries, and the resends of many."""
    service = faces.doors.service
    return service.read(audit.entries, limit=1000), service.log(), service.read(resends.find)
