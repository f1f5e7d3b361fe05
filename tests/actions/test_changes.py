"""A change is the same one whichever face makes it: the same rows, the same entries in the audit trail."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import resends, tokens, webhook_secrets, webhooks
from almirant_webhooks.cli.run_action import CommandDatabase, caller, run_action
from almirant_webhooks.model import MASK, NotFound, Refused
from almirant_webhooks.rules.principals import Principal, Role
from almirant_webhooks.rules.selection import AuditSelection, Selection
from almirant_webhooks.storage.sql import audit, sealed
from almirant_webhooks.storage.sql import webhooks as storage
from almirant_webhooks.storage.sql.session import Session

from ..conftest import Receiver
from ..support.service import SECRET, Service
from ..web.test_refusals import Doors

URL = "https://example.com/in"
OWN = "a secret of my own"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")

# Each change of one webhook: the command's words, the API's method, path and body, the page's path and form.
FILTER = [
    {"field": "data.n", "op": ">=", "value": 1.5},
    {"field": 'data["a.b"]', "op": "in", "value": ["x", "y,z", 3]},
    {"field": "type", "op": "exists"},
]
_ROWS = {  # of a form, with the same conditions
    "filter": "rows",
    "filter_field": ["data.n", 'data["a.b"]', "type", ""],
    "filter_op": [">=", "in", "exists", "="],
    "filter_value": ["1.50", 'x, "y,z", 3', "", ""],
}
_SAME = {"url": URL, "events": "*", "description": "b", "concurrency": "", "rate_limit": ""}
CHANGES: tuple[tuple[tuple[str, ...], tuple[str, str, object], tuple[str, dict[str, Any]]], ...] = (
    (
        ("webhook", "update", "{id}", "--url", f"{URL}/2", "--event", "lead.*", "--description", "a board"),
        ("PATCH", "/{id}", {"url": f"{URL}/2", "events": ["lead.*"], "description": "a board"}),
        ("/{id}/edit", {"url": f"{URL}/2", "events": "lead.*", "description": "a board"}),
    ),
    (
        ("webhook", "update", "{id}", "--description", "a board", "--concurrency", "4", "--url", URL, "--event", "*"),
        ("PATCH", "/{id}", {"description": "a board", "concurrency": 4, "url": URL, "events": ["*"]}),
        ("/{id}/edit", {"url": URL, "events": "*", "description": "a board", "concurrency": "4"}),
    ),
    (
        ("webhook", "update", "{id}", "--description", "b", "--url", URL, "--event", "*"),
        ("PATCH", "/{id}", {"description": "b", "url": URL, "events": ["*"]}),
        ("/{id}/edit", {"url": URL, "events": "*", "description": "b", "concurrency": "4"}),
    ),
    (
        ("webhook", "update", "{id}", "--no-concurrency", "--description", "b", "--url", URL, "--event", "*"),
        ("PATCH", "/{id}", {"concurrency": None, "description": "b", "url": URL, "events": ["*"]}),
        ("/{id}/edit", {"url": URL, "events": "*", "description": "b", "concurrency": ""}),
    ),
    (
        ("webhook", "update", "{id}", "--header", "Authorization: Bearer of old", "--header", "X-Team: 7"),
        ("PATCH", "/{id}", {"headers": {"Authorization": "Bearer of old", "X-Team": "7"}}),
        ("/{id}/edit", {**_SAME, "header_name": ["Authorization", "X-Team"], "header_value": ["Bearer of old", "7"]}),
    ),
    (  # one kept by its mask, one taken away, one changed in another case, one added
        (
            "webhook",
            "update",
            "{id}",
            "--header",
            "authorization: Bearer of new",
            "--no-header",
            "x-team",
            "--header",
            "X-B: (b)",
        ),
        ("PATCH", "/{id}", {"headers": {"authorization": "Bearer of new", "x-team": None, "X-B": "(b)"}}),
        (
            "/{id}/edit",
            {**_SAME, "header_name": ["authorization", "", "X-B"], "header_value": ["Bearer of new", MASK, "(b)"]},
        ),
    ),
    (
        ("webhook", "update", "{id}", "--header", f"X-B: {MASK}", "--description", "b"),
        ("PATCH", "/{id}", {"headers": {"X-B": MASK}, "description": "b"}),
        ("/{id}/edit", {**_SAME, "header_name": ["authorization", "X-B"], "header_value": [MASK, MASK]}),
    ),
    (
        ("webhook", "update", "{id}", "--no-headers"),
        ("PATCH", "/{id}", {"headers": None}),
        ("/{id}/edit", {**_SAME, "header_name": ["", ""], "header_value": [MASK, ""]}),
    ),
    (
        ("webhook", "update", "{id}", "--rate-limit", "300/m"),
        ("PATCH", "/{id}", {"rate_limit": "300/m"}),
        ("/{id}/edit", {**_SAME, "rate_limit": "300/m"}),
    ),
    (
        ("webhook", "update", "{id}", "--no-rate-limit"),
        ("PATCH", "/{id}", {"rate_limit": None}),
        ("/{id}/edit", _SAME),
    ),
    (
        (
            "webhook",
            "update",
            "{id}",
            "--where",
            "data.n >= 1.50",
            "--where",
            'data["a.b"] in x,"y,z",3',
            "--where",
            "type exists",
        ),
        ("PATCH", "/{id}", {"filter": FILTER}),
        (
            "/{id}/edit",
            {**_SAME, **_ROWS},
        ),
    ),
    (  # the same filter once more, and a form without its rows: nothing is changed
        (
            "webhook",
            "update",
            "{id}",
            "--where",
            "data.n >= 1.5",
            "--where",
            'data["a.b"] in ["x","y,z",3]',
            "--where",
            "type exists",
        ),
        ("PATCH", "/{id}", {"filter": FILTER}),
        ("/{id}/edit", _SAME),
    ),
    (
        ("webhook", "update", "{id}", "--no-where"),
        ("PATCH", "/{id}", {"filter": None}),
        ("/{id}/edit", {**_SAME, "filter": "rows", "filter_field": "", "filter_op": "=", "filter_value": ""}),
    ),
    (
        ("webhook", "update", "{id}", "--ordered", "--concurrency", "1", "--url", URL, "--event", "*"),
        ("PATCH", "/{id}", {"ordered": True, "concurrency": 1, "url": URL, "events": ["*"]}),
        (
            "/{id}/edit",
            {"url": URL, "events": "*", "description": "b", "concurrency": "1", "ordered": "true", "ordered_box": "1"},
        ),
    ),
    (
        ("webhook", "update", "{id}", "--no-ordered", "--no-concurrency", "--url", URL, "--event", "*"),
        ("PATCH", "/{id}", {"ordered": False, "concurrency": None, "url": URL, "events": ["*"]}),
        ("/{id}/edit", {"url": URL, "events": "*", "description": "b", "concurrency": "", "ordered_box": "1"}),
    ),
    (
        ("webhook", "update", "{id}", "--no-ordered", "--url", URL, "--event", "*"),
        ("PATCH", "/{id}", {"ordered": None, "url": URL, "events": ["*"]}),
        ("/{id}/edit", {"url": URL, "events": "*", "description": "b", "ordered_box": "1"}),
    ),
    (
        ("webhook", "test", "{id}", "--event", "lead.created"),
        ("POST", "/{id}/test", {"event_type": "lead.created"}),
        ("/{id}/test", {"event_type": "lead.created"}),
    ),
    (
        ("webhook", "rotate-secret", "{id}", "--switch-after", "24h", "--secret", OWN),
        ("POST", "/{id}/rotate-secret", {"switch_after": "24h", "secret": OWN}),
        ("/{id}/rotate-secret", {"switch_after": "24h", "secret": OWN}),
    ),
    (
        ("webhook", "rotate-secret", "{id}", "--cancel"),
        ("POST", "/{id}/rotate-secret", {"cancel": True}),
        ("/{id}/rotate-secret", {"cancel": "1"}),
    ),
    (("webhook", "disable", "{id}"), ("POST", "/{id}/disable", None), ("/{id}/disable", {})),
    (("webhook", "disable", "{id}"), ("POST", "/{id}/disable", None), ("/{id}/disable", {})),
    (("webhook", "enable", "{id}"), ("POST", "/{id}/enable", None), ("/{id}/enable", {})),
    (("webhook", "show", "{id}", "--secret"), ("GET", "/{id}/secret", None), ("/{id}/secret", {})),
    (("webhook", "delete", "{id}", "--yes"), ("DELETE", "/{id}", None), ("/{id}/delete", {})),
)


async def by_command(doors: Doors, webhook_id: str, change: Any) -> None:
    await asyncio.to_thread(doors.shell.ours, *(word.replace("{id}", webhook_id) for word in change[0]))


async def by_api(doors: Doors, webhook_id: str, change: Any) -> None:
    method, path, body = change[1]
    status, answer = await doors.api.call(method, f"/api/v1/webhooks{path.replace('{id}', webhook_id)}", None, body)
    assert status < 300, answer


async def by_page(doors: Doors, webhook_id: str, change: Any) -> None:
    path, form = change[2]
    status, _, text = await doors.pages.post(f"/webhooks{path.replace('{id}', webhook_id)}", None, **form)
    assert status in (200, 303), text


def opened_headers(conn: Session) -> list[tuple[str, str]]:
    """Return each webhook's headers with their values."""
    rows = conn.execute("SELECT id, headers FROM webhooks WHERE url > ''").fetchall()
    return [(row, str(sealed.open_headers(conn.seals, row, column))) for row, column in rows]


def entries(service: Service, webhook_id: str) -> list[tuple[str, ...]]:
    """What the trail has of a webhook, oldest first, without who and when."""
    rows = service.read(audit.entries, AuditSelection(webhook_id=webhook_id), limit=1000)
    return [(row["action"], row["project_id"], _TIME.sub("then", row["detail"])) for row in rows[::-1]]


@pytest.mark.each_engine
@pytest.mark.long
async def test_a_change_by_command_api_or_page_is_the_same_one(doors: Doors) -> None:
    """Step for step the webhook looks alike, and so does its trail; the actor alone tells them apart."""
    faces: list[Callable[[Doors, str, Any], Awaitable[None]]] = [by_command, by_api, by_page]
    service = doors.service
    ids = [service.webhook(URL).id for _ in faces]
    for change in CHANGES:
        for face, webhook_id in zip(faces, ids, strict=True):
            await face(doors, webhook_id, change)
        shown = [row for row in service.read(storage.find) if row.id in ids]
        told = {
            (
                row.url,
                row.events,
                row.description,
                str(row.filter),
                row.concurrency,
                str(row.headers),
                row.rate_limit,
                row.ordered,
                row.enabled,
            )
            for row in shown
        }
        stored = service.read(opened_headers)
        assert (
            len(told) == len({headers for row, headers in stored if row in ids}) == (0 if "delete" in change[0] else 1)
        )
    of_command, *others = [entries(service, webhook_id) for webhook_id in ids]
    assert [action for action, *_ in of_command] == [
        "webhook.created", *["webhook.updated"] * 13, "webhook.tested", "secret.rotated", "secret.rotation_cancelled",
        "webhook.disabled", "webhook.enabled", "secret.revealed", "webhook.deleted",
    ]  # fmt: skip
    assert others == [of_command, of_command]
    details = [detail for action, _, detail in of_command if action == "webhook.updated"]
    assert details == [
        "url, events, description",
        "url, events, concurrency",
        "description",
        "concurrency",
        *["headers"] * 3,
        *["rate_limit"] * 2,
        *["filter"] * 2,
        *["concurrency, ordered"] * 2,
    ]
    actors = {
        row["actor"] for row in service.read(audit.entries, AuditSelection(webhook_id=ids[0], action="webhook.deleted"))
    }
    assert all(actor.startswith("user ") for actor in actors)


async def test_a_webhook_made_by_command_api_or_page_is_the_same_one(doors: Doors) -> None:
    """With all options but a template, and an own secret, which none of them changes."""
    headers = {"Authorization": "Bearer of all", "X-Team": "7"}
    words = (
        *("--project", "proj_new", "--url", URL, "--event", "*", "--secret", SECRET, "--description", "d"),
        *("--concurrency", "1", "--ordered", "--rate-limit", "10/s"),
        *("--where", "data.n >= 1.5", "--where", 'data["a.b"] in x,"y,z",3', "--where", "type exists"),
        *(word for name, value in headers.items() for word in ("--header", f"{name}: {value}")),
    )
    made = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "create", *words, "--json"))
    plain = {"project_id": "proj_new", "url": URL, "events": ["*"], "secret": SECRET, "description": "d"}
    options = {"concurrency": 1, "ordered": True, "rate_limit": "10/s", "filter": FILTER, "headers": headers}
    status, answer = await doors.api.call("POST", "/api/v1/webhooks", None, {**plain, **options})
    assert (status, list(answer)) == (201, list(made))
    masked = {**options, "headers": dict.fromkeys(headers, MASK)}
    assert [{name: row[name] for name in options} for row in (made, answer)] == [masked] * 2
    form = {**plain, **_ROWS, "secret_kind": "own", "concurrency": "1", "ordered": "true", "ordered_box": "1"}
    form |= {"rate_limit": "10/s", "header_name": list(headers), "header_value": list(headers.values())}
    assert (await doors.pages.post("/webhooks", None, **form))[0] == 303
    rows = doors.service.read(storage.find, project_id="proj_new")
    assert len(rows) == 3
    assert {(row.url, row.events, row.description) for row in rows} == {(URL, ("*",), "d")}
    assert {(row.concurrency, row.ordered, row.rate_limit, str(row.filter)) for row in rows} == {
        (1, True, "10/s", str(FILTER))
    }
    ids = {row.id for row in rows}
    assert {values for row, values in doors.service.read(opened_headers) if row in ids} == {str(tuple(headers.items()))}
    assert all(row.enabled for row in rows)
    shown = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "show", rows[0].id, "--json"))
    listed = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "list", "--project", "proj_new", "--json"))
    assert [{name: row[name] for name in options} for row in (shown, *listed)] == [masked] * 4
    page = await doors.pages.get(f"/webhooks/{rows[0].id}", "proj_new")
    for text in ("10/s", "one after the other", "1, and a resend or test beside it"):
        assert f"<dd>{text}</dd>" in page
    form_page = await doors.pages.get(f"/webhooks/{rows[0].id}/edit", "proj_new")
    for name, value in (("rate_limit", "10/s"), ("concurrency", "1")):
        assert f'name="{name}" value="{value}"' in form_page
    several = doors.service.webhook(URL, project="proj_new", concurrency=3)
    assert "<dd>3 at most</dd>" in (await doors.pages.get(f"/webhooks/{several.id}", "proj_new"))
    for row in rows:
        assert run_action(webhook_secrets.reveal(CommandDatabase(doors.service.settings()), caller(), row.id, now=clock.now())).current == SECRET  # fmt: skip


async def test_what_waits_for_a_rate_limit_is_shown_by_command_and_page(doors: Doors, receiver: Receiver) -> None:
    """By the webhook, in the lists and in the numbers of the service; a webhook with places left says nothing of it."""
    webhook_id = doors.service.webhook(receiver.url, rate_limit="1/h").id
    doors.service.webhook(receiver.url, rate_limit="100/h")
    doors.service.insert(*({"n": number} for number in range(3)))
    await doors.service.until(lambda: len(receiver.requests) == 4)
    await doors.service.until(lambda: len(doors.service.log(webhook_id=webhook_id, state="succeeded")) == 1)

    async def command(*words: str) -> str:
        return str(await asyncio.to_thread(doors.shell.ours, *words))

    assert "rate_limited" in await command("webhook", "show", webhook_id)
    assert json.loads(await command("webhook", "show", webhook_id, "--json"))["rate_limited"] == 2
    assert (await command("webhook", "list")).count("rate-limited, 2 wait") == 1
    listed = json.loads(await command("webhook", "list", "--json"))
    assert {row["id"]: row["rate_limited"] for row in listed}[webhook_id] == 2
    assert sum(row["rate_limited"] for row in listed) == 2
    assert json.loads(await command("stats", "--json"))["deliveries"]["rate_limited"] == 2
    assert "1/h; rate-limited, 2 wait" in await doors.pages.get(f"/webhooks/{webhook_id}")
    assert (await doors.pages.get("/webhooks")).count("rate-limited, ") == 1


def test_an_action_reaches_no_further_than_who_acts(service: Service) -> None:
    """Another project's webhook is not there for them, in each action that names one; nothing is written."""
    service.migrate()
    webhook_id = service.webhook(URL).id
    database, now, settings = CommandDatabase(service.settings()), clock.now(), service.settings()
    other = Principal(Role.PROJECT_ADMIN, "proj_2")
    before = service.read(audit.entries)
    for action in (
        webhooks.update(database, other, webhook_id, now=now, settings=settings, description="x"),
        webhooks.enable(database, other, webhook_id, now=now),
        webhooks.disable(database, other, webhook_id, now=now),
        webhooks.delete(database, other, webhook_id, now=now),
        webhooks.send_test(database, other, webhook_id, now=now, settings=settings),
        webhook_secrets.rotate(database, other, webhook_id, now=now),
        webhook_secrets.reveal(database, other, webhook_id, now=now),
        resends.resend_many(database, other, Selection(project_id="proj_1"), now=now),
    ):
        with pytest.raises(NotFound, match=r"^There is no (webhook|project) "):
            run_action(action)
    assert service.read(audit.entries) == before
    with pytest.raises(Refused, match="nothing to resend"):
        run_action(resends.resend_many(database, other, Selection(webhook_id=webhook_id), now=now))


def test_a_link_is_refused_where_nothing_serves_the_pages(service: Service) -> None:
    """It would lead nowhere, and is not written down."""
    service.migrate()
    settings = service.settings()
    with pytest.raises(Refused, match=r"admin\.listen is empty"):
        run_action(
            tokens.make_link(
                CommandDatabase(settings),
                caller(),
                now=clock.now(),
                settings=settings,
                signing_keys=service.keys(),
                project_id="proj_1",
                expires="1h",
            )
        )
    assert service.read(audit.entries) == []


def test_a_command_says_so_when_an_action_waits_for_what_it_does_not_have() -> None:
    """It runs no event loop: nothing of an action may need one."""

    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited"):
        run_action(waits())
