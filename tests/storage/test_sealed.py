"""What is secret is sealed in the database: nobody finds it there without the key, and with the key all goes on."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import RESERVED_PROJECT, Misconfigured
from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit, log, rotation, webhooks

from ..conftest import Receiver
from ..support.secret_texts import HEADERS, NEXT, TOKEN, found
from ..support.service import SECRET, Service
from ..support.shell import Shell
from ..web.test_pages import Pages
from ..web.test_webhook_pages import words_of


@pytest.mark.sqlite
async def test_through_a_webhook_s_life_no_file_and_no_line_has_a_secret(
    service: Service, receiver: Receiver, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Created, changed, rotated, settled, delivered, with a failure; the receiver gets the true ones."""
    answers = iter([500, 200, 200])
    await service.start()
    webhook = service.webhook(receiver.url, headers=HEADERS)
    receiver.status = next(answers)
    service.insert()
    await service.until(lambda: receiver.requests)
    receiver.status = next(answers)
    now = clock.now()
    service.write(rotation.start, webhook.id, secret=NEXT, switch_at=now - timedelta(days=2), actor="operator", now=now)
    service.write(rotation.settle, now)
    service.write(webhooks.update, webhook.id, options={"headers": {"X-Other": TOKEN}}, now=now)
    service.insert()
    await service.until(lambda: len(receiver.requests) >= 2)
    assert receiver.requests[-1].headers["Authorization"] == HEADERS["Authorization"]
    assert service.write(rotation.reveal, webhook.id, actor="operator", now=now).current == NEXT
    shell = Shell(tmp_path, service.database)
    said = await asyncio.to_thread(shell.ours, "backup", str(tmp_path / "copy.db"))
    assert said == ""
    assert found(tmp_path, SECRET, TOKEN, NEXT, "of boards") == []
    assert not any(text in stream for stream in capfd.readouterr() for text in (SECRET, TOKEN, NEXT))
    await service.stop()
    assert found(tmp_path, SECRET, TOKEN, NEXT, "of boards") == []


@pytest.mark.sqlite
async def test_a_secret_is_opened_once_however_many_requests_it_signs(service: Service, receiver: Receiver) -> None:
    """The connections of a daemon share what they have opened."""
    daemon = await service.start()
    service.webhook(receiver.url, headers=HEADERS)
    service.insert(*({"n": number} for number in range(50)))
    await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 50)
    seals = daemon.storage._seals  # type: ignore[attr-defined]
    assert seals._open.cache_info().misses == 4, "the secret, two headers, and what proves the key"


@pytest.mark.parametrize("what", ["none", "another database's", "too short", "of another mode"])
@pytest.mark.long
async def test_without_its_key_the_service_stops_before_anything_is_sent(
    service: Service, receiver: Receiver, what: str
) -> None:
    """With 78 and words; commands that show no secret work, and others exit 78."""
    service.migrate()
    webhook = service.webhook(receiver.url).id
    service.insert()
    key = service.key
    if what == "none":
        key.unlink()
    elif what == "another database's":
        key.write_text("k7 " + sealed_texts.new_line().split()[1])
    elif what == "too short":
        key.write_text("k1 AAAA\n")
    else:
        key.chmod(0o644)
    words = {
        "none": "There is no key file",
        "another database's": "is not that of this database",
        "too short": "has 3 bytes, and must have 32",
        "of another mode": "chmod 0600",
    }[what]
    with pytest.raises(Misconfigured, match=words):
        await service.start(migrating=False)
    service.daemon = None
    shell = service.shell()
    if what == "none":
        assert words in await asyncio.to_thread(shell.ours, "serve", "--migrate", code=78)
    assert webhook in await asyncio.to_thread(shell.ours, "webhook", "list")
    code = 1 if what == "another database's" else 78
    assert "wh_" in await asyncio.to_thread(shell.ours, "webhook", "show", webhook)
    said = await asyncio.to_thread(shell.ours, "webhook", "show", webhook, "--secret", code=code)
    assert "key" in said
    assert "secrets" in await asyncio.to_thread(shell.ours, "doctor", code=1)
    assert receiver.requests == []


def tamper(service: Service, webhook_id: str, value: str) -> None:
    """Change a row by hand."""
    service.execute("UPDATE webhooks SET secret = ? WHERE id = ?", value, webhook_id)


async def check_pages_and_api_say_why(pages: Pages, webhook_id: str, why: str) -> None:
    """Once, and without what they say of one that was disabled for its failures."""
    page = await pages.get(f"/webhooks/{webhook_id}", None)
    assert page.count("cannot be opened") == 1
    told = words_of(page)
    assert "The service disabled this webhook" in told
    assert re.search(rf"{why} [^.]+\. 1 delivery is held until it is enabled\. See it Give it a new secret", told)
    assert "Enable it once its receiver is well" not in told
    assert "answers 503" not in told
    assert why in words_of(await pages.get("/webhooks", None))
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    async with pages.client.get(f"/api/v1/webhooks/{webhook_id}", headers=headers) as answer:
        assert (await answer.json())["disabled_reason"].startswith(why)


@pytest.mark.parametrize("when", ["before its events", "between two attempts"])
async def test_a_row_that_was_tampered_with_stops_its_own_webhook_alone(
    service: Service, receiver: Receiver, when: str
) -> None:
    """It says why on its page, in its trail, by `webhook show` and `doctor`; with a new secret what was held goes on."""
    service.options["delivery"] = {"retry_schedule": ["0s", "0s", "0s"]}
    address = await service.serve()
    well, other = service.webhook(receiver.url, "work_item.*"), service.webhook(receiver.url, "work_item.*")
    channel = service.webhook(f"{receiver.url}/told", "almirant.webhook.disabled")
    operators = service.webhook(f"{receiver.url}/told", "webhook.disabled", project=RESERVED_PROJECT)
    (stored,) = service.ask(f"SELECT secret FROM webhooks WHERE id = '{well.id}'")
    if when == "before its events":
        tamper(service, other.id, stored)
    else:
        held = asyncio.Event()

        async def tampering(_: object) -> aiohttp.web.Response:
            tamper(service, other.id, stored)
            held.set()
            return aiohttp.web.Response(status=503)

        receiver.answer = tampering
    service.insert()
    await service.until(lambda: not service.read(webhooks.get, other.id).enabled)
    receiver.answer = None
    tested = service.write(webhooks.request_test, other.id, "lead.created", "{}", clock.now())
    await service.until(lambda: service.read(log.delivery, tested)["state"] == "cancelled")
    assert "cannot be opened" in (service.read(log.delivery, tested)["cancelled_reason"] or "")
    await service.until(lambda: service.log(webhook_id=well.id, state="succeeded"))
    (row,) = service.log(webhook_id=other.id, state="pending")
    assert (row["state"], row["held"]) == ("pending", 1)
    (entry,) = service.read(audit.entries, AuditSelection(webhook_id=other.id, action="webhook.disabled"))
    why = f"the secret of {other.id} cannot be opened: the key"
    assert entry["actor"] == "the service"
    assert entry["detail"].startswith(why)
    for told in (channel, operators):
        await service.until(lambda: service.log(webhook_id=told.id, state="succeeded"))  # noqa: B023
    notices = [json.loads(request.body) for request in receiver.requests if request.path.endswith("/told")]
    assert {notice["type"] for notice in notices} == {"almirant.webhook.disabled", "webhook.disabled"}
    for notice in notices:
        assert notice["data"]["webhook"]["id"] == other.id
        assert notice["data"]["cause"].startswith(why)
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        await check_pages_and_api_say_why(Pages(service, client), other.id, why)
    shell = service.shell()
    assert f"{other.id} was disabled by the service" in await asyncio.to_thread(shell.ours, "webhook", "list")
    sentence = why.replace("the secret", "The secret")
    assert sentence in await asyncio.to_thread(shell.ours, "doctor", "--json", code=1)
    assert sentence in await asyncio.to_thread(shell.ours, "webhook", "show", other.id, "--secret", code=1)
    await asyncio.to_thread(shell.ours, "webhook", "update", other.id, "--secret", NEXT)
    await asyncio.to_thread(shell.ours, "webhook", "enable", other.id)
    await service.until(lambda: service.log(webhook_id=other.id, state="succeeded"))
