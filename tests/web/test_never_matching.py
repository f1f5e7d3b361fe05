"""Conditions that nothing can fulfil together are refused with what to change, by pages, API and command alike."""

from __future__ import annotations

import asyncio
import html
import re

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Refused
from almirant_webhooks.rules.selection import AuditSelection, EventSelection, Selection
from almirant_webhooks.storage.sql import webhooks

from .test_pages import Pages, pages
from .test_selections import NOW

__all__ = ["pages"]

NEVER = {
    ("state=failed", "status=200"): "state failed and status 200 never go together",
    ("state=pending", "status=2xx"): "state pending and status 2xx never go together",
    ("state=held", "status=204"): "state held and status 204 never go together",
    ("status=100",): "status 100 is of no last answer",
    ("status=1xx",): "status 1xx is of no last answer",
    ("since=2026-01-02", "until=2026-01-01"): "until is not after since",
    ("since=1h", "until=2h"): "until is not after since",
    ("since=2026-01-02", "until=2026-01-02"): "until is not after since",
    ("since=2226-01-02",): "since is a time to come",
    ("since=2226-01-02", "until=2226-01-03"): "since is a time to come",
}


def _texts(conditions: tuple[str, ...]) -> dict[str, str | None]:
    return {name: value for name, _, value in (one.partition("=") for one in conditions)}


@pytest.mark.parametrize(("conditions", "words"), NEVER.items(), ids=lambda one: "&".join(one))
def test_what_can_never_match_is_refused(conditions: tuple[str, ...], words: str) -> None:
    """The sentence names both fields as the face calls them."""
    with pytest.raises(Refused, match=words):
        Selection.parse(_texts(conditions), NOW)
    for kind in (EventSelection, AuditSelection) if "since" in words else ():
        with pytest.raises(Refused, match=words):
            kind.parse(_texts(conditions), NOW)


ENTRIES = {
    "action=webhok.created": "action: there is no action webhok.created. Did you mean 'webhook.created'?",
    "action=x": "action: there is no action x. Known are webhook.created, ",
    "webhook=dlv_1": "webhook must be the id of a webhook",
}


async def test_an_entry_that_is_none_s_is_not_looked_for(pages: Pages) -> None:
    """The trail said that nothing matched, as if nobody had done it."""
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    shell = pages.service.shell()
    for condition, words in ENTRIES.items():
        assert words in html.unescape(await pages.get(f"/audit?{condition}", status=422)), condition
        async with pages.client.get(f"/api/v1/audit?{condition}", headers=headers) as answer:
            assert (answer.status, words in (await answer.json(content_type=None))["detail"]) == (422, True), condition
        name, _, value = condition.partition("=")
        assert words.partition(name)[2] in " ".join(shell.ours("audit", f"--{name}", value, code=2).split()), condition
    assert "No entries yet" not in await pages.get("/audit?action=session.started")
    said = shell.ours("audit", "--since", "1h", "--until", "2h", code=2)
    assert "--until is not after --since" in said


@pytest.mark.parametrize(
    "conditions",
    [
        ("state=succeeded", "status=200"),
        ("state=succeeded", "status=500"),  # a resend of it has failed
        ("state=failed", "status=500"),
        ("status=204",),
        ("state=cancelled", "status=timeout"),
        ("since=2h", "until=1h"),
        ("since=2026-11-24T09:04:00Z",),  # by a clock that is ahead of ours
    ],
    ids="&".join,
)
def test_what_can_match_is_not(conditions: tuple[str, ...]) -> None:
    """A failed resend leaves its delivery succeeded."""
    assert Selection.parse(_texts(conditions), NOW)


async def test_pages_and_api_say_the_same(pages: Pages) -> None:
    """With 422, whatever list it is."""
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    for conditions, words in NEVER.items():
        query = "&".join(conditions)
        for path in ("/deliveries", "/resends/new", *(("/events", "/audit") if "since" in words else ())):
            assert words in html.unescape(await pages.get(f"{path}?{query}", status=422)), path
        for path in ("/api/v1/deliveries", *(("/api/v1/events", "/api/v1/audit") if "since" in words else ())):
            async with pages.client.get(f"{path}?{query}", headers=headers) as answer:
                assert (answer.status, words in (await answer.json(content_type=None))["detail"]) == (422, True), path


async def test_a_webhook_that_is_not_there_is_not_looked_for(pages: Pages) -> None:
    """The lists were empty, as if it had none; one of another project is not there either, nor with the project of another."""
    own, other = (
        pages.service.webhook("https://example.com/in"),
        pages.service.webhook("https://b.example/", project="b"),
    )
    shell, operator = pages.service.shell(), {"Authorization": f"Bearer {pages.service.keys().token}"}
    words = "there is no webhook {} here. The list of webhooks has the ids of all that there are"
    for webhook, project in ((f"{own.id}x", None), (other.id, "proj_1")):
        asked, said = f"webhook={webhook}", words.format(webhook)
        for path in ("/resends/new", "/audit"):
            assert f"webhook: {said}" in html.unescape(await pages.get(f"{path}?{asked}", project, status=422)), path
        more = f"&project={project}" if project else ""
        for path in ("/api/v1/deliveries", "/api/v1/audit"):
            async with pages.client.get(f"{path}?{asked}{more}", headers=operator) as answer:
                problem = await answer.json(content_type=None)
            assert (answer.status, problem["field"], said in problem["detail"]) == (422, "webhook", True), path
        body = {"webhook_id": webhook, "dry_run": True} | ({"project_id": project} if project else {})
        async with pages.client.post("/api/v1/resends", json=body, headers=operator) as answer:
            problem = await answer.json(content_type=None)
        assert (answer.status, problem["field"]) == (422, "webhook_id")
        option = ("--webhook", webhook, *(("--project", project) if project else ()))
        for command in (("delivery", "list"), ("delivery", "resend", "--dry-run"), ("audit",)):
            assert f"--webhook: {said}" in " ".join(
                (await asyncio.to_thread(shell.ours, *command, *option, code=1)).split()
            )
    assert "No deliveries yet" in await pages.get(f"/webhooks/{own.id}/deliveries")
    pages.service.write(webhooks.delete, own.id, clock.now())
    assert "Webhook deleted" in await pages.get(f"/audit?webhook={own.id}")
    assert "No entries match" in await pages.get(f"/audit?webhook={own.id}&action=webhook.tested")


@pytest.mark.parametrize("path", ["/deliveries", "/events", "/audit", "/webhooks"])
async def test_a_list_that_was_refused_does_not_say_that_there_is_nothing(pages: Pages, path: str) -> None:
    """Beside a parameter that it does not have, or a place that it has not, "No deliveries yet" was wrong."""
    for asked in ("nope=1",) if path == "/webhooks" else ("nope=1", "before=zz"):
        shown = html.unescape(await pages.get(f"{path}?{asked}", status=422))
        assert 'role="alert"' in shown, asked
        assert not re.search(r"No \w+ (yet|match)", shown), asked


async def test_a_span_that_is_none_is_refused_on_a_webhooks_page(pages: Pages) -> None:
    """As on that of a project's activity."""
    webhook = pages.service.webhook("https://example.com/in")
    assert "span must be" in html.unescape(await pages.get(f"/webhooks/{webhook.id}?span=zz", status=422))
    await pages.get(f"/webhooks/{webhook.id}?span=7d")
