"""A preview says what a webhook would get of the newest events, the same by command, API and page; nothing is saved or sent."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import previews
from almirant_webhooks.cli.run_action import CommandDatabase, caller, run_action
from almirant_webhooks.model import NotFound, Refused, Webhook, WrongUsage
from almirant_webhooks.rules import filters
from almirant_webhooks.rules.principals import Principal, Role
from almirant_webhooks.storage.sql import audit, webhooks
from almirant_webhooks.storage.sql import previews as storage
from almirant_webhooks.web.address import prefix_links

from ..support.service import Service
from ..web.test_refusals import Doors

URL = "https://example.com/in"


@pytest.fixture
async def doors(service: Service) -> AsyncIterator[Doors]:
    """A daemon with its three faces, a webhook for leads, and events of a project."""
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Doors(service, client)


def insert(
    service: Service, count: int, *, kind: str = "lead.created", project: str = "proj_1", more: str = ""
) -> None:
    conn = service.producer()
    for number in range(count):
        conn.execute(
            "INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (?, ?, ?, ?)",
            (project, kind, f'{{"n": {number}{more}}}', f"evt_{kind.replace('.', '_')}_{number}"),
        )
    conn.commit()
    conn.close()


def preview(service: Service, principal: Principal | None = None, **asked: Any) -> previews.Preview:
    settings = service.settings()
    asked.setdefault("options", {})
    return run_action(previews.preview(CommandDatabase(settings), principal or caller(), settings=settings, **asked))


async def taken(service: Service, count: int) -> None:
    await service.until(
        lambda: service.read(lambda conn: conn.execute("SELECT count(*) FROM events").fetchone()[0]) >= count
    )


async def test_each_face_shows_the_same_preview(doors: Doors) -> None:
    """Of the newest hundred events of the types: how many would be sent, what holds the others back, and the first bodies."""
    service = doors.service
    insert(service, 110)
    insert(service, 5, kind="sprint.closed")
    await taken(service, 115)
    before = service.read(audit.entries, limit=1000)
    where = ("data.n >= 20", "data.n != 50")
    shown = preview(service, webhook_id=doors.webhook, events=["lead.*"], options={"filter": where})
    assert {name: shown[name] for name in ("events", "sent", "filtered_out", "failed", "looked_back_to")} == {
        "events": 100,
        "sent": 89,
        "filtered_out": 11,
        "failed": 0,
        "looked_back_to": None,
    }
    assert shown["conditions"] == [
        {"condition": "data.n >= 20", "events": 10},
        {"condition": "data.n != 50", "events": 1},
    ]
    assert [body["event_id"] for body in shown["bodies"]] == [
        f"evt_lead_created_{number}" for number in range(109, 104, -1)
    ]
    first = json.loads(shown["bodies"][0]["body"])
    assert (first["type"], first["data"], first["projectId"]) == ("lead.created", {"n": 109}, "proj_1")
    words = [word for condition in where for word in ("--where", condition)]
    said = await asyncio.to_thread(
        doors.shell.ours, "webhook", "preview", doors.webhook, "--event", "lead.*", *words, "--json"
    )
    assert json.loads(said) == shown
    body = {"webhook_id": doors.webhook, "events": ["lead.*"], "filter": filters.check(where)}
    assert await doors.api.call("POST", "/api/v1/webhooks/preview", None, body) == (200, shown)
    form = {"events": "lead.*", "filter": "rows", "filter_field": ["data.n", "data.n"], "filter_op": [">=", "!="], "filter_value": ["20", "50"]}  # fmt: skip
    for path in (f"/webhooks/{doors.webhook}/preview", "/webhooks/preview"):
        status, page = await doors.page(path, {"project_id": "proj_1", "url": "not saved", **form})
        assert status == 200
        text = html.unescape(page)
        assert '<b class="num">89</b> would be sent' in text
        assert "<code>data.n >= 20</code> does not hold" in text
        assert text.count('class="payload"') == 5
        assert 'value="not saved"' in text
    assert service.read(audit.entries, limit=1000) == before
    assert service.read(webhooks.get, doors.webhook).filter is None


async def test_a_command_says_it_in_words(doors: Doors) -> None:
    """Without a webhook too, by project and types."""
    insert(doors.service, 3)
    await taken(doors.service, 3)
    asked = ("webhook", "preview", "--project", "proj_1", "--event", "lead.*", "--where", "data.n = 1")
    said = await asyncio.to_thread(doors.shell.ours, *asked)
    assert "Of the newest 3 events of these types 1 would be sent." in said
    assert "data.n = 1" in said
    assert '"data": {"n": 1}' in said
    said = await asyncio.to_thread(doors.shell.ours, "webhook", "preview", "--project", "proj_1", "--event", "sprint.*")
    assert said == "There is no event of these types yet.\n"
    status, answer = await doors.api.call(
        "POST", "/api/v1/webhooks/preview", None, {"project_id": "proj_1", "events": ["lead.*"]}
    )
    assert (status, answer["events"], answer["sent"], len(answer["bodies"])) == (200, 3, 3, 3)


async def test_a_preview_shows_what_a_template_makes_of_the_events(doors: Doors) -> None:
    """By each face; what it cannot make is counted, with the cause."""
    insert(doors.service, 2)
    insert(doors.service, 1, kind="lead.updated", more=f', "much": "{"x" * 200_000}"')
    await taken(doors.service, 3)
    template = '{"text": "{{ data.n }} {{ data.much }}{{ data.much }}", "type": {{ type }}}'
    shown = preview(doors.service, webhook_id=doors.webhook, options={"template": template})
    assert (shown["events"], shown["sent"], shown["failed"]) == (3, 2, 1)
    assert shown["bodies"][0]["cause"] == "the body that the template makes of it is larger than 256 KiB."
    assert json.loads(shown["bodies"][1]["body"]) == {"text": "1 ", "type": "lead.created"}
    body = {"webhook_id": doors.webhook, "template": template}
    assert await doors.api.call("POST", "/api/v1/webhooks/preview", None, body) == (200, shown)
    asked = ("webhook", "preview", doors.webhook, "--template", template)
    said = await asyncio.to_thread(doors.shell.ours, *asked)
    assert "For 1 the template makes no body." in said
    assert '{"text": "1 ", "type": "lead.created"}' in said
    assert json.loads(await asyncio.to_thread(doors.shell.ours, *asked, "--json")) == shown
    await asyncio.to_thread(doors.shell.ours, *asked, "--no-template", code=2)
    status, page = await doors.page(f"/webhooks/{doors.webhook}/preview", {"events": "*", "template": template})
    assert status == 200
    assert "For 1 the template makes no body" in page
    assert "the body that the template makes of it is larger than 256 KiB." in page
    doors.service.write(webhooks.update, doors.webhook, options={"template": template}, now=clock.now())
    assert preview(doors.service, webhook_id=doors.webhook) == shown
    assert preview(doors.service, webhook_id=doors.webhook, options={"template": None})["failed"] == 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "neither a webhook nor a project": ({}, "Name the webhook, or its project and events."),
    "both": ({"webhook_id": "{webhook}", "project_id": "proj_1"}, "Give the webhook or the project, not both."),
    "a project without types": ({"project_id": "proj_1"}, "A webhook subscribes to one event type at least."),
    "a type that is none": (
        {"project_id": "proj_1", "events": ["led.*"]},
        "'led.*' fits no event type. Did you mean 'lead.*'?",
    ),
    "a webhook that is gone": ({"webhook_id": "wh_0"}, "There is no webhook wh_0."),
    "a condition that is none": (
        {"webhook_id": "{webhook}", "filter": [{"field": "data.x", "op": ">", "value": None}]},
        "Condition 1: > takes a number or a text.",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_be_previewed_is_refused_in_the_same_words(doors: Doors, what: str) -> None:
    """By command and API; the page is always about a webhook or a project."""
    asked, sentence = REFUSED[what]
    asked = {name: doors.webhook if value == "{webhook}" else value for name, value in asked.items()}
    words = [asked["webhook_id"]] if "webhook_id" in asked else []
    words += ["--project", asked["project_id"]] if "project_id" in asked else []
    words += [word for event in asked.get("events", ()) for word in ("--event", event)]
    words += ["--where", "data.x > null"] if "filter" in asked else []
    code = 2 if what in ("neither a webhook nor a project", "both") else 1
    said = await asyncio.to_thread(doors.shell.ours, "webhook", "preview", *words, code=code)
    assert said == f"error: {sentence}\n"
    status, problem = await doors.api.call("POST", "/api/v1/webhooks/preview", None, asked)
    assert (status, problem["detail"]) == (404 if "gone" in what else 422, sentence)


async def test_a_page_says_beside_the_preview_what_is_wrong(doors: Doors) -> None:
    """And keeps what was typed."""
    form = {"events": "*", "filter": "rows", "filter_field": "data.x", "filter_op": ">", "filter_value": "null"}
    status, page = await doors.page(f"/webhooks/{doors.webhook}/preview", form)
    assert status == 422
    assert "Condition 1: > takes a number or a text." in html.unescape(page)
    assert 'value="null"' in page
    status, page = await doors.page("/webhooks/preview", {"project_id": "proj_1"})
    assert status == 422
    assert "A webhook subscribes to one event type at least." in page
    status, _ = await doors.page("/webhooks/wh_0/preview", form)
    assert status == 404


async def test_a_projects_admin_previews_their_own_project_alone(doors: Doors) -> None:
    """Another's events are not there for them."""
    admin = Principal(Role.PROJECT_ADMIN, "proj_2")
    insert(doors.service, 1)
    insert(doors.service, 2, project="proj_2")
    await taken(doors.service, 3)
    for asked in ({"project_id": "proj_1", "events": ["*"]}, {"webhook_id": doors.webhook}):
        with pytest.raises(NotFound):
            preview(doors.service, admin, **asked)
    assert preview(doors.service, admin, events=["*"])["events"] == 2
    status, _ = await doors.api.call(
        "POST", "/api/v1/webhooks/preview", doors.api.admin("proj_2"), {"webhook_id": doors.webhook}
    )
    assert status == 404
    status, answer = await doors.api.call(
        "POST", "/api/v1/webhooks/preview", doors.api.admin("proj_2"), {"events": ["*"]}
    )
    assert (status, answer["events"]) == (200, 2)


async def test_a_preview_goes_by_the_webhook_where_nothing_else_is_given(doors: Doors) -> None:
    """Its types and its filter; `--no-where` is as if it had none; tests are no events."""
    filter_ = filters.check(["data.n = 1"])
    webhook: Webhook = doors.service.webhook(URL, "lead.*", filter=filter_)
    doors.service.write(webhooks.request_test, webhook.id, "lead.created", "{}", clock.now())
    insert(doors.service, 3)
    await taken(doors.service, 4)
    assert preview(doors.service, webhook_id=webhook.id)["filtered_out"] == 2
    said = await asyncio.to_thread(doors.shell.ours, "webhook", "preview", webhook.id, "--no-where")
    assert "3 would be sent" in said
    await asyncio.to_thread(
        doors.shell.ours, "webhook", "preview", webhook.id, "--no-where", "--where", "data.n = 1", code=2
    )


async def test_a_preview_is_bounded_in_what_it_reads_and_shows(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long bodies are cut; where it stops early it says down to which time it has come."""
    insert(doors.service, 4, more=f', "long": "{"x" * 20_000}"')
    await taken(doors.service, 4)
    whole = preview(doors.service, webhook_id=doors.webhook)
    assert [(len(body["body"]), body["cut"]) for body in whole["bodies"]] == [(previews.MAX_SHOWN, True)] * 4
    monkeypatch.setattr(previews, "MAX_READ", 30_000)
    stopped = preview(doors.service, webhook_id=doors.webhook)
    assert (stopped["events"], stopped["looked_back_to"]) == (2, stopped["bodies"][1]["created_at"])
    monkeypatch.undo()
    monkeypatch.setattr(storage, "LOOKED_AT", 2)
    assert preview(doors.service, webhook_id=doors.webhook)["events"] == 4, "it goes on in steps"
    monkeypatch.setattr(previews, "SECONDS", 0.0)
    stopped = preview(doors.service, webhook_id=doors.webhook)
    assert (stopped["events"], stopped["looked_back_to"]) == (1, stopped["bodies"][0]["created_at"])


def test_a_button_of_a_form_leads_below_the_path_of_a_proxy() -> None:
    """As links and forms do."""
    assert (
        prefix_links("https://h/hooks", '<button formaction="/webhooks/preview">').count("/hooks/webhooks/preview") == 1
    )


def test_a_refusal_and_wrong_usage_differ(service: Service) -> None:
    """A command's exit codes go by it."""
    service.migrate()
    with pytest.raises(WrongUsage):
        preview(service)
    with pytest.raises(Refused) as refused:
        preview(service, project_id="a b", events=["*"])
    assert not isinstance(refused.value, WrongUsage)
