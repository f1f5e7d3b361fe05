"""Conditions that nothing can fulfil together are refused with what to change, by pages, API and command alike."""

from __future__ import annotations

import html

import pytest

from almirant_webhooks.model import Refused
from almirant_webhooks.rules.selection import AuditSelection, EventSelection, Selection

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
}


def _texts(conditions: tuple[str, ...]) -> dict[str, str | None]:
    return {name: value for name, _, value in (one.partition("=") for one in conditions)}


@pytest.mark.parametrize(("conditions", "words"), NEVER.items(), ids=lambda one: "&".join(one))
def test_what_can_never_match_is_refused(conditions: tuple[str, ...], words: str) -> None:
    """The sentence names both fields as the face calls them."""
    with pytest.raises(Refused, match=words):
        Selection.parse(_texts(conditions), NOW)
    for kind in (EventSelection, AuditSelection) if "until" in words else ():
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
