"""A template by command, API and page: told in the same way, sent, and shown."""

from __future__ import annotations

import asyncio
import html
import json
from pathlib import Path

from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit
from almirant_webhooks.storage.sql import webhooks as storage
from almirant_webhooks.verify import verify_almirant

from ..conftest import Receiver
from ..support.service import SECRET
from ..web.test_refusals import Doors

URL = "https://example.com/in"
TEMPLATE = '{"text": "{{ type }}: {{ data.workItem.title }}",\n "id": {{ data.workItem.id }}}'
MADE = '{"text": "work_item.created: Say \\"hi\\" <b>",\n "id": "wi_1"}'
EVENT = {"workItem": {"id": "wi_1", "title": 'Say "hi" <b>'}}


async def test_a_template_told_by_command_api_or_page_is_the_same_one(doors: Doors, tmp_path: Path) -> None:
    """As a text, from a file, and as an object of JSON; a form's line ends change nothing; the trail names the field alone."""
    file = tmp_path / "template.json"
    file.write_text(f"{TEMPLATE}\n")
    words = ("--project", "proj_new", "--url", URL, "--event", "*", "--template")
    for text in (TEMPLATE, f"@{file}"):
        await asyncio.to_thread(doors.shell.ours, "webhook", "create", *words, text)
    body = {"project_id": "proj_new", "url": URL, "events": ["*"], "template": TEMPLATE}
    status, created = await doors.api.call("POST", "/api/v1/webhooks", None, body)
    assert (status, created["template"]) == (201, TEMPLATE)
    await doors.pages.post("/webhooks", None, **{**body, "secret_kind": "own", "secret": SECRET})
    rows = doors.service.read(storage.find, project_id="proj_new")
    assert [row.template for row in rows] == [TEMPLATE] * 4
    first, second, third, fourth = (row.id for row in rows)
    shown = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "show", first, "--json"))
    assert shown["template"] == TEMPLATE
    page = await doors.pages.get(f"/webhooks/{fourth}", "proj_new")
    form = await doors.pages.get(f"/webhooks/{fourth}/edit", "proj_new")
    assert html.escape(TEMPLATE, quote=False) in html.unescape(page).replace("&#34;", '"')
    assert TEMPLATE in html.unescape(form)
    as_sent = {"url": URL, "events": "*", "template": TEMPLATE.replace("\n", "\r\n")}
    await doors.pages.post(f"/webhooks/{fourth}/edit", None, **as_sent)
    assert [row["action"] for row in doors.service.read(audit.entries, AuditSelection(webhook_id=fourth))] == [
        "webhook.created"
    ]
    await asyncio.to_thread(doors.shell.ours, "webhook", "update", first, "--no-template")
    await doors.api.call("PATCH", f"/api/v1/webhooks/{second}", None, {"template": None})
    await doors.pages.post(f"/webhooks/{fourth}/edit", None, **{**as_sent, "template": ""})
    status, changed = await doors.api.call(
        "PATCH", f"/api/v1/webhooks/{third}", None, {"template": {"é": "{{ type }}"}}
    )
    assert (status, changed["template"]) == (200, '{"é": "{{ type }}"}')
    rows = doors.service.read(storage.find, project_id="proj_new")
    assert [row.template for row in rows] == [None, None, '{"é": "{{ type }}"}', None]
    for row in rows:
        assert [
            entry["detail"] for entry in doors.service.read(audit.entries, AuditSelection(webhook_id=row.id), limit=1)
        ] == ["template"]


async def test_a_ready_template_is_chosen_by_its_name(doors: Doors) -> None:
    """By command, API and form; it is shown with its version, and a form that is saved as it stands keeps it."""
    words = ("--project", "proj_new", "--url", URL, "--event", "*", "--template", "slack")
    await asyncio.to_thread(doors.shell.ours, "webhook", "create", *words)
    body = {"project_id": "proj_new", "url": URL, "events": ["*"]}
    status, created = await doors.api.call("POST", "/api/v1/webhooks", None, {**body, "template": "slack@1"})
    assert (status, created["template"]) == (201, "slack@1")
    form = {**body, "secret_kind": "generated", "ready_template": "slack", "template": ""}
    await doors.pages.post("/webhooks", None, **form)
    rows = doors.service.read(storage.find, project_id="proj_new")
    assert [row.template for row in rows] == ["slack@1"] * 3
    page = await doors.pages.get(f"/webhooks/{rows[2].id}/edit", "proj_new")
    assert '<option value="slack@1" selected>Slack (slack@1)</option>' in page
    assert '<option value="discord">Discord</option>' in page
    assert "<code>slack@1</code>: Slack’s messages" in await doors.pages.get(f"/webhooks/{rows[2].id}", "proj_new")
    as_it_stands = {"url": URL, "events": "*", "ready_template": "slack@1", "template": ""}
    await doors.pages.post(f"/webhooks/{rows[2].id}/edit", None, **as_it_stands)
    await doors.pages.post(f"/webhooks/{rows[1].id}/edit", None, **{**as_it_stands, "ready_template": ""})
    await doors.pages.post(
        f"/webhooks/{rows[0].id}/edit", None, **{**as_it_stands, "ready_template": "", "template": "1"}
    )
    rows = doors.service.read(storage.find, project_id="proj_new")
    assert [row.template for row in rows] == ["1", None, "slack@1"]
    trail = doors.service.read(audit.entries, AuditSelection(webhook_id=rows[2].id))
    assert "webhook.updated" not in [entry["action"] for entry in trail]


async def test_what_the_template_made_is_sent_and_shown_as_the_body(doors: Doors, receiver: Receiver) -> None:
    """By command, API and page; the event keeps its own."""
    webhook = doors.service.webhook(receiver.url, "work_item.*", template=TEMPLATE)
    doors.service.insert(EVENT)
    await doors.service.until(lambda: receiver.requests)
    (arrival,) = receiver.requests
    assert arrival.body.decode() == MADE
    assert verify_almirant(arrival.body, arrival.headers["X-Almirant-Signature"], SECRET)
    await doors.service.until(lambda: doors.service.log(webhook_id=webhook.id)[0]["state"] == "succeeded")
    (row,) = doors.service.log(webhook_id=webhook.id)
    delivery = row["delivery_id"]
    shown = json.loads(await asyncio.to_thread(doors.shell.ours, "delivery", "show", delivery, "--json"))
    status, answer = await doors.api.call("GET", f"/api/v1/deliveries/{delivery}")
    assert (status, shown["body"], answer["body"], answer["failed_reason"]) == (200, MADE, MADE, None)
    assert MADE in html.unescape(await doors.pages.get(f"/deliveries/{delivery}"))
    _, event = await doors.api.call("GET", f"/api/v1/events/{row['event_id']}")
    assert json.loads(event["body"])["data"] == EVENT


async def test_a_delivery_without_a_body_says_why_at_every_face(doors: Doors, receiver: Receiver) -> None:
    """A resend with `--wait` says so too, and goes out once the template is mended."""
    large = '"' + "{{ data.text }}" * 300 + '"'
    webhook = doors.service.webhook(receiver.url, "work_item.*", template=large)
    doors.service.insert({"text": "x" * 1_000})
    await doors.service.until(lambda: doors.service.log(webhook_id=webhook.id))
    (row,) = doors.service.log(webhook_id=webhook.id)
    delivery, cause = row["delivery_id"], "the body that the template makes of it is larger than 256 KiB"
    assert (row["state"], row["attempts"]) == ("failed", 0)
    assert cause in await asyncio.to_thread(doors.shell.ours, "delivery", "show", delivery)
    _, answer = await doors.api.call("GET", f"/api/v1/deliveries/{delivery}")
    assert (answer["body"], answer["failed_reason"]) == (None, cause)
    assert cause in await doors.pages.get(f"/deliveries/{delivery}")
    assert cause in await asyncio.to_thread(doors.shell.ours, "event", "show", row["event_id"])
    code, said = await doors.command("delivery", "resend", delivery, "--wait")
    assert (code, f"No request was made: {cause}." in said) == (1, True)
    await asyncio.to_thread(doors.shell.ours, "webhook", "update", webhook.id, "--template", '"{{ type }}"')
    await asyncio.to_thread(doors.shell.ours, "delivery", "resend", delivery, "--wait")
    assert [arrival.body for arrival in receiver.requests] == [b'"work_item.created"']


async def test_other_events_are_refused_for_which_the_template_makes_too_much(doors: Doors) -> None:
    """A template is checked again when the types of its webhook change."""
    many = '"' + "{{data}}" * 1_300 + '"'
    id_ = doors.service.webhook(URL, "lead.created", template=many).id
    words = "The template fails for the sample of work_item.updated: the body that the template makes of it is larger than 256 KiB."
    code, said = await doors.command("webhook", "update", id_, "--event", "work_item.updated")
    assert (code, words in said) == (1, True)
    status, problem = await doors.api.call("PATCH", f"/api/v1/webhooks/{id_}", None, {"events": ["work_item.updated"]})
    assert (status, problem["field"], words in problem["detail"]) == (422, "template", True)
    status, text = await doors.page(
        f"/webhooks/{id_}/edit", {"url": URL, "events": "work_item.updated", "template": many}
    )
    assert (status, words in html.unescape(text)) == (422, True)
    assert doors.service.read(storage.get, id_).events == ("lead.created",)
