"""A webhook's headers reach its receiver, and their values nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.model import MASK
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit, webhooks

from ..conftest import Receiver
from ..support.service import Service
from ..web.test_refusals import Doors

TOKEN = "t0ken-nobody-sees"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Team": "7", "accept": "text/plain"}
NAMES = [*HEADERS]


@pytest.fixture
async def doors(service: Service) -> AsyncIterator[Doors]:
    """A daemon that serves its API and its pages, and commands beside it."""
    service.options["delivery"] = {"retry_schedule": ["0s", "0s"]}
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Doors(service, client)


async def test_each_attempt_has_the_headers_of_its_moment(doors: Doors, receiver: Receiver) -> None:
    """The first, a retry, a resend and a test; changed ones from the next attempt on."""
    service = doors.service
    tokens = iter(range(1, 100))

    async def refuse_and_change(_: web.Request) -> web.Response:
        await asyncio.to_thread(change)
        return web.Response(status=500 if len(receiver.requests) == 1 else 200)

    def change() -> None:
        doors.shell.ours("webhook", "update", webhook, "--header", f"X-Number: {next(tokens)}")

    webhook = service.webhook(receiver.url, headers={**HEADERS, "X-Number": "0"}).id
    receiver.answer = refuse_and_change
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    delivery = service.log(state="succeeded")[0]["delivery_id"]
    service.resend(delivery)
    await service.until(lambda: service.log(state="succeeded")[0]["attempts"] == 3)
    service.write(webhooks.request_test, webhook, "lead.created", "{}", clock.now())
    await service.until(lambda: len(receiver.requests) == 4)
    for number, request in enumerate(receiver.requests):
        sent = {name.lower(): value for name, value in request.headers.items()}
        assert {name: sent[name.lower()] for name in HEADERS} == HEADERS
        assert sent["x-number"] == str(number)
        assert sent["x-almirant-signature"]
    assert len([name for name in receiver.requests[0].headers if name.lower() == "accept"]) == 1


async def test_a_value_is_shown_at_the_secret_alone_and_who_looked_is_written_down(
    doors: Doors, receiver: Receiver, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in an answer, a page, the log, the audit trail, what a receiver echoes or the daemon's lines."""
    service = doors.service

    async def echo(request: web.Request) -> web.Response:
        return web.json_response(
            dict(request.headers), status=503, headers={"X-Echo": request.headers["Authorization"]}
        )

    receiver.answer = echo
    body = {"project_id": "proj_1", "url": receiver.url, "events": ["*"], "headers": HEADERS}
    status, created = await doors.api.call("POST", "/api/v1/webhooks", None, body)
    assert (status, created["headers"]) == (201, dict.fromkeys(NAMES, MASK))
    webhook = created["id"]
    service.insert()
    await service.until(lambda: service.log(webhook_id=webhook, state="failed"))
    delivery = service.log(webhook_id=webhook)[0]["delivery_id"]
    shown = [json.dumps(created), json.dumps(service.detail(delivery))]
    for path in ("webhooks", f"webhooks/{webhook}", f"deliveries/{delivery}", "audit"):
        status, answer = await doors.api.call("GET", f"/api/v1/{path}")
        assert status == 200
        shown.append(json.dumps(answer))
    pages = (f"webhooks/{webhook}", f"webhooks/{webhook}/edit", f"deliveries/{delivery}", "audit")
    shown += [await doors.pages.get(f"/{path}", None) for path in pages]
    for words in (("webhook", "show", webhook), ("webhook", "list"), ("delivery", "show", delivery), ("audit",)):
        shown.append(await asyncio.to_thread(doors.shell.ours, *words))
        shown.append(await asyncio.to_thread(doors.shell.ours, *words, "--json"))
    shown.append(str(service.read(lambda conn: [tuple(row) for row in conn.execute("SELECT * FROM attempts")])))
    shown.extend(capfd.readouterr())
    assert [text for text in shown if TOKEN in text] == []
    assert sum(MASK in text for text in shown) >= 10
    (first, *_) = service.detail(delivery)["attempt_list"]
    assert [name for name, value in first["request_headers"] if value == MASK] == NAMES
    assert "Accept" not in dict(first["request_headers"])

    status, secret = await doors.api.call("GET", f"/api/v1/webhooks/{webhook}/secret")
    assert (status, secret["headers"]) == (200, HEADERS)
    by_command = await asyncio.to_thread(doors.shell.ours, "webhook", "show", webhook, "--secret", "--json")
    assert json.loads(by_command)["headers"] == HEADERS
    _, _, by_page = await doors.pages.post(f"/webhooks/{webhook}/secret", None)
    assert f"Bearer {TOKEN}" in by_page
    looks = [
        row["detail"]
        for row in service.read(audit.entries, AuditSelection(webhook_id=webhook, action="secret.revealed"))
    ]
    assert looks == [""] * 3


async def test_a_file_has_headers_of_which_no_list_of_processes_tells(doors: Doors, tmp_path: Path) -> None:
    """One a line, by either end of line, beside those of the command; what is no text or too large is refused."""
    file = tmp_path / "headers"
    file.write_bytes(f"Authorization: Bearer {TOKEN}\r\n\nX-Team:7\n".encode())

    def told(*words: str, code: int = 0) -> str:
        return doors.shell.ours("webhook", "update", doors.webhook, *words, code=code)

    await asyncio.to_thread(told, "--header", f"@{file}", "--header", "X-B: b")
    _, secret = await doors.api.call("GET", f"/api/v1/webhooks/{doors.webhook}/secret")
    assert secret["headers"] == {"Authorization": f"Bearer {TOKEN}", "X-Team": "7", "X-B": "b"}
    for content, words in ((b"X: \xff", "not text in UTF-8"), (b"X: a\n" * 40_000, "more than")):
        file.write_bytes(content)
        assert words in await asyncio.to_thread(told, "--header", f"@{file}", code=1)
    file.write_text(f"Bearer {TOKEN}")
    assert TOKEN not in await asyncio.to_thread(told, "--header", f"@{file}", code=1)


async def test_the_form_has_a_row_for_each_header_and_hides_what_is_typed(doors: Doors) -> None:
    """It works without JavaScript; 20 rows; a form without any of these fields changes nothing."""
    form = {"url": "https://example.com/in", "events": "*"}
    rows = {"header_name": ["X-Team", "Authorization"], "header_value": ["7", f"Bearer {TOKEN}"]}
    path = f"/webhooks/{doors.webhook}"
    assert (await doors.pages.post(f"{path}/edit", None, **form, **rows))[0] == 303
    page = await doors.pages.get(f"{path}/edit", None)
    assert page.count('name="header_name"') == page.count('type="password"') == 20
    assert f'name="header_value" type="password" value="{MASK}"' in page
    assert "<code>Authorization</code>" in await doors.pages.get(path, None)
    await doors.pages.post(f"{path}/edit", None, **form, description="x")
    assert doors.service.read(webhooks.get, doors.webhook).headers == {"X-Team": MASK, "Authorization": MASK}
    many = {"header_name": ["x" * 64] * 20, "header_value": ["%" * 2048] * 20}
    status, _, text = await doors.pages.post(f"{path}/edit", None, **form, **many)
    assert (status, "given twice" in text) == (422, True)
