"""Types that begin with `almirant.`: subscribed to, tried, listed and refused in the same way by command, API and page."""

from __future__ import annotations

import asyncio
import html
import json
from typing import Any

import pytest

from almirant_webhooks.rules.event_types import NOTICES, sample_payload
from almirant_webhooks.storage.sql import webhooks as storage

from ..web.test_refusals import URL, Doors
from .conftest import FORM, NEW, Faces, Refusal, changed, check, new

RESERVED = "Event types that begin with almirant. are the service's own: it tells of webhooks by them. Give the event another type."
NO_NOTICE = "'almirant.webhook.failed' fits no event type. Did you mean 'almirant.webhook.failing'?"
SENT = {"project_id": "proj_1", "payload": {}}


async def test_a_webhook_can_subscribe_to_everything_and_to_notices_at_every_face(doors: Doors) -> None:
    """Everything takes no notice in, so both are kept; what a family of notices takes in is not."""
    both = ["*", "almirant.*"]
    words = [word for pattern in both for word in ("--event", pattern)]
    await asyncio.to_thread(doors.shell.ours, "webhook", "create", "--project", "p1", "--url", URL, *words)
    status, _ = await doors.api.call("POST", "/api/v1/webhooks", None, {**NEW, "project_id": "p2", "events": both})
    assert status == 201
    chosen = ["*", "lead.created", "almirant.*", "almirant.webhook.failing"]
    await doors.pages.post("/webhooks", None, **{**FORM, "project_id": "p3", "events": chosen})
    made = [doors.service.read(storage.find, project_id=project)[0] for project in ("p1", "p2", "p3")]
    assert [webhook.events for webhook in made] == [("*", "almirant.*")] * 3
    form = await doors.pages.get(f"/webhooks/{made[2].id}/edit", "p3")
    assert 'value="almirant.*" data-covers="family" checked' in form
    assert "Notices about your webhooks" in form
    assert "Others chosen" not in form


async def test_operators_project_has_no_notices_to_choose(doors: Doors) -> None:
    """Its own types are told there without the prefix."""
    webhook = doors.service.webhook(URL, "*", project="almirant")
    form = await doors.pages.get(f"/webhooks/{webhook.id}/edit", None)
    assert 'value="webhook.failing"' in form
    assert "almirant.webhook" not in form


async def test_the_catalogue_of_the_api_has_the_notices_with_their_samples(doors: Doors) -> None:
    """The count of failed deliveries is in a project's alone."""
    _, answer = await doors.api.call("GET", "/api/v1/event-types", None)
    samples = {item["event_type"]: item["sample"] for item in answer["items"]}
    assert [name for name in samples if name.startswith("almirant.")] == list(NOTICES)
    failed = sample_payload("delivery.failed")
    assert samples["almirant.delivery.failed"] == {**failed, "count": 3}
    assert samples["almirant.webhook.failing"] == sample_payload("webhook.failing")


@pytest.mark.parametrize("event_type", NOTICES)
async def test_a_notice_can_be_tried_by_a_test_at_every_face(doors: Doors, event_type: str) -> None:
    """The sample goes to that webhook alone, by the true path."""
    service, path = doors.service, f"/webhooks/{doors.webhook}/test"
    await asyncio.to_thread(doors.shell.ours, "webhook", "test", doors.webhook, "--event", event_type)
    assert (await doors.api.call("POST", f"/api/v1{path}", None, {"event_type": event_type}))[0] == 202
    assert (await doors.pages.post(path, None, event_type=event_type))[0] == 303
    bodies = [json.loads(service.detail(row["delivery_id"])["body"]) for row in service.log(webhook_id=doors.webhook)]
    assert [(body["type"], body["data"]) for body in bodies] == [(event_type, sample_payload(event_type))] * 3
    assert event_type in html.unescape(await doors.pages.get(f"/webhooks/{doors.webhook}", None))


REFUSALS: dict[str, Refusal] = {
    "a notice that there is not": new(
        NO_NOTICE,
        "--event",
        "almirant.webhook.failed",
        {"events": ["almirant.webhook.failed"]},
        {"events": "almirant.webhook.failed"},
    ),
    "a change to a notice that there is not": changed(
        NO_NOTICE,
        "--event",
        "almirant.webhook.failed",
        {"events": ["almirant.webhook.failed"]},
        {"events": "almirant.webhook.failed"},
    ),
    "an event of a notice's type": Refusal(
        RESERVED,
        ("event", "send", "--project", "proj_1", "--type", NOTICES[0], "--data", "{}"),
        ("POST", "/events", {**SENT, "event_type": NOTICES[0]}),
        field="event_type",
    ),
    "an event of a type that begins so": Refusal(
        RESERVED,
        ("event", "send", "--project", "proj_1", "--type", "almirant.a.b", "--data", "{}"),
        ("POST", "/events", {**SENT, "event_type": "almirant.a.b"}),
        field="event_type",
    ),
    "a test of a notice that there is not": Refusal(
        "'almirant.webhook.failed' is not an event type. Did you mean 'almirant.webhook.failing'?",
        ("webhook", "test", "{webhook}", "--event", "almirant.webhook.failed"),
        ("POST", "/webhooks/{webhook}/test", {"event_type": "almirant.webhook.failed"}),
        ("/webhooks/{webhook}/test", {"event_type": "almirant.webhook.failed"}),
        field="event_type",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_every_face_refuses_with_the_same_sentence(doors: Doors, what: str) -> None:
    """And changes nothing."""
    names: dict[str, Any] = {"webhook": doors.webhook}
    await check(Faces(doors, names), REFUSALS[what])
