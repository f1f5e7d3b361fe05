"""The audit trail on its page and for tokens and links; what is shown of it to whom, and that nobody can forge an entry."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.rules.audited import AUDITED_ACTIONS
from almirant_webhooks.storage.sql import audit
from almirant_webhooks.web.pages import audit_words

from ..support.service import Service
from ..support.shell import Shell
from .test_pages import ROUTES, Pages

SOURCE = Path(__file__).parents[2] / "src" / "almirant_webhooks"


@pytest.fixture
async def pages(service: Service) -> AsyncIterator[Pages]:
    """A daemon that serves its pages on a free port."""
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Pages(service, client)


def _entries(service: Service) -> list[str]:
    return [entry["action"] for entry in service.read(audit.entries, limit=1000)]


def test_every_action_that_is_written_has_its_word_in_the_list() -> None:
    """And the list has no word that nothing writes: the page offers them as a filter."""
    written = {
        word
        for path in SOURCE.rglob("*.py")
        if path.name != "audit.py" and "audit" in path.read_text()
        for word in re.findall(
            r'(?:note[(,]\s*(?:conn,\s*)?|action = |, action = \w+, | is None else )"(\w+\.\w+)"', path.read_text()
        )
    }
    assert written | {"secret.switched"} == set(AUDITED_ACTIONS)


async def test_the_page_shows_a_project_its_own_entries_and_the_operator_all(pages: Pages) -> None:
    """Newest first, with filters; what a link did is told apart from what the operator did."""
    service = pages.service
    one = service.webhook("https://one.example/in")
    other = service.webhook("https://two.example/in", project="proj_2")
    await pages.post(f"/webhooks/{one.id}/secret")
    every = await pages.get("/audit", None)
    for text in ("Webhook created", "Secret revealed", "link to proj_1", "operator", one.id, other.id):
        assert text in every.partition("<tbody")[2], text
    assert every.index("Secret revealed", every.index("<tbody")) < every.index("Webhook created", every.index("<tbody"))
    own = await pages.get("/audit")
    assert "Secret revealed" in own.partition("<tbody")[2]
    assert other.id not in own
    assert "two.example" not in own
    assert "Secret revealed" not in (await pages.get("/audit", "proj_2")).partition("<tbody")[2]
    filtered = (await pages.get(f"/audit?action=webhook.created&project=proj_2&webhook={other.id}", None)).partition("<tbody")[2]  # fmt: skip
    assert filtered.count("<tr") == 1
    assert other.id in filtered
    assert "No entries match" in await pages.get("/audit?until=2020-01-01", None)
    await pages.get("/audit?since=yesterdayish", None, 422)


async def test_what_is_deleted_stays_in_the_trail_without_a_link(pages: Pages) -> None:
    """The page leads nowhere that is not there."""
    webhook = pages.service.webhook("https://one.example/in")
    assert f'href="/webhooks/{webhook.id}"' in await pages.get("/audit")
    await pages.post(f"/webhooks/{webhook.id}/delete", yes="1")
    shown = await pages.get("/audit")
    assert "Webhook deleted" in shown.partition("<tbody")[2]
    assert f'href="/webhooks/{webhook.id}"' not in shown


async def test_older_entries_are_on_further_pages_each_once(pages: Pages) -> None:
    """Entries that come meanwhile move nothing."""
    service = pages.service
    now = clock.now()
    for number in range(120):
        service.write(
            audit.note, "webhook.tested", actor="operator", now=now + timedelta(seconds=number), project_id="proj_1",
            detail=f"number-{number}.",
        )  # fmt: skip
    path, seen = "/audit?action=webhook.tested", []
    while path:
        text = await pages.get(path)
        seen += re.findall(r"number-(\d+)\.", text)
        older = re.search(r'href="([^"]+)" rel="next"', text)
        path = older[1].replace("&amp;", "&") if older else ""
        service.webhook("https://one.example/in")
    assert [int(number) for number in seen] == list(range(119, -1, -1))
    refused = await pages.get("/audit?before=nonsense&action=webhook.tested", status=422)
    assert ("before must be one that a page" in refused, "number-119" in refused) == (True, False)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_cannot_write_an_entry_by_sending_somebody_here(pages: Pages, site: str) -> None:
    """A GET that leaves something behind is refused to it, for every route that a browser can be led to."""
    webhook = pages.service.webhook("https://one.example/in")
    pages.cookie(None)  # whose beginning is an entry too
    before = _entries(pages.service)
    refused = []
    for method, canonical in ROUTES:
        if method != "GET":
            continue
        path = canonical.replace("{id}", webhook.id)
        headers = {**pages.cookie(None), "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        async with pages.client.get(path, headers=headers, allow_redirects=False) as answer:
            text = await answer.text()
        assert "whsec_" not in text, path
        refused += [canonical] if answer.status == 403 else []
    assert refused == ["/api/v1/webhooks/{id}/secret"]
    assert _entries(pages.service) == before
    path = f"/api/v1/webhooks/{webhook.id}/secret"
    async with pages.client.get(path, headers={**pages.cookie(None), "Sec-Fetch-Site": "same-origin"}) as answer:
        assert answer.status == 200
    assert _entries(pages.service) == ["secret.revealed", *before]


async def test_links_that_are_made_by_the_api_are_in_the_trail(pages: Pages) -> None:
    """With their project and their end, and never the link itself."""
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    async with pages.client.post("/api/v1/portal-links", json={"project_id": "proj_1"}, headers=headers) as answer:
        made = await answer.json()
    (entry,) = pages.service.read(audit.entries)
    assert (entry["action"], entry["project_id"], entry["actor"]) == ("portal_link.created", "proj_1", "operator")
    assert entry["detail"] == f"until {made['expires_at']}"
    async with pages.client.get("/api/v1/audit?action=portal_link.created", headers=headers) as answer:
        assert len((await answer.json())["items"]) == 1


@pytest.mark.sqlite
def test_tokens_and_links_of_the_commands_are_in_the_trail(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, made anew and removed; no token and no link is in an entry."""
    monkeypatch.setenv("ALMIRANT_WEBHOOKS_ADMIN__LISTEN", "127.0.0.1:8420")
    secrets = [shell.ours("token").strip()]
    secrets.append(shell.ours("token", "--rotate", "--yes").strip())
    made = json.loads(shell.ours("token", "--producer", "--project", "p", "--json"))
    shell.ours("token", "--revoke", made["id"], "--yes")
    secrets += [made["token"], shell.ours("portal-link", "p").strip()]
    text = shell.ours("audit", "--json")
    assert [entry["action"] for entry in json.loads(text)[::-1]] == [
        "token.rotated", "producer_token.created", "producer_token.revoked", "portal_link.created",
    ]  # fmt: skip
    assert all(entry["actor"].startswith("user ") for entry in json.loads(text))
    for secret in secrets:
        assert secret.rpartition("/")[2] not in text
    assert len(json.loads(shell.ours("audit", "--action", "token.rotated", "--json"))) == 1


@pytest.mark.parametrize("name", ["Ana, for ACME", "until noon, for Ana", "Ana, to look only", "to look only, for Ana"])
def test_a_link_is_said_to_be_for_whom_it_is_for(name: str) -> None:
    """Words of a name that an entry has as well are no part of its time."""
    at = "2026-01-31T09:00:00.000Z"
    for kind in ("", "to look only, "):
        said = audit_words.detail("portal_link.created", f"until {at}, {kind}for {name}")
        assert said.parts == {"at": at, "name": name}
        assert ("to look only, " in said.msgid) == bool(kind), "whatever the name says"
