"""What is secret is shown once, to the session that asked for it; without scripts at an address, by a form that leads there."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions.webhook_secrets import PROMISED_FOR
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit

from ..conftest import Receiver
from ..support import sessions
from ..support.service import SECRET
from .test_pages import Pages, pages

__all__ = ["pages"]
UNSCRIPTED = {"unscripted": "1"}
SEEN = re.compile(r"(?:whsec|awa)_[\w+/=-]{40,}")


@pytest.mark.parametrize("project", ["proj_1", None], ids=["admin", "operator"])
async def test_a_token_is_shown_once_at_its_address_and_kept_no_longer(pages: Pages, project: str | None) -> None:
    """To the session that made it. The form that is sent again makes no other one, and leads to the same place."""
    form = {"name": "ci", "once": "k" * 22, **UNSCRIPTED, **({} if project else {"project_id": "proj_1"})}
    status, place, _ = await pages.post("/tokens", project, **form)
    assert (status, SEEN.search(place)) == (303, None)
    for other in ("proj_2", None if project else "proj_1"):
        assert not SEEN.search(await pages.get(place.replace("project=proj_1&", ""), other))
    async with pages.client.head(place, headers=pages.cookie(project)) as answer:
        assert answer.status == 200
    shown = await pages.get(place, project)
    (token,) = set(SEEN.findall(shown))
    assert "shown here once" not in shown
    async with pages.client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {token}"}) as answer:
        assert (await answer.json())["project_id"] == "proj_1"
    assert [row[0] for row in pages.service.execute("SELECT number FROM request_keys")] == [
        0
    ]  # where the form leads to
    for _ in range(2):
        again = await pages.get(place, project)
        assert (SEEN.search(again), "revoke it and make another" in again) == (None, True)
        assert (await pages.post("/tokens", project, **form))[:2] == (303, place)


async def test_a_secret_that_is_revealed_is_shown_once_at_an_address(pages: Pages) -> None:
    """With all that the answer to the form would show; the page says how it is seen once more, and each look is written down."""
    made = pages.service.webhook("https://example.com/in")
    path = f"/webhooks/{made.id}/secret"
    _, _, at_once = await pages.post(path)
    for looks in (2, 3):
        status, place, _ = await pages.post(path, once="k" * 22, **UNSCRIPTED)
        assert (status, place) == (303, f"/webhooks/{made.id}?done=revealed")
        shown = await pages.get(place)
        for text in (SECRET, "It is hidden again when you leave this page"):
            assert (text in at_once, text in shown) == (True, True)
        again = await pages.get(place)
        assert (SECRET in again, "“Reveal” shows it once more" in again) == (False, True)
        assert len(pages.service.read(audit.entries, AuditSelection(action="secret.revealed"))) == looks


async def test_a_new_secret_is_shown_in_its_session_within_a_minute(pages: Pages, receiver: Receiver) -> None:
    """Once: the page that looks again and again, a HEAD, and who comes later do not get it; nothing has it unsealed."""
    form = {"url": receiver.url, "events": "*", "secret_kind": "generated"}
    _, place, _ = await pages.post("/webhooks", **form)
    for headers in (sessions.cookie(pages.service, "proj_1"), {**pages.cookie("proj_1"), "X-Live": "1"}):
        async with pages.client.get(place, headers=headers) as answer:
            assert (answer.status, SEEN.search(await answer.text())) == (200, None)
    async with pages.client.head(place, headers=pages.cookie("proj_1")) as answer:
        assert answer.status == 200
    assert [bool(SEEN.search(await pages.get(place))) for _ in range(2)] == [True, False]
    assert not SEEN.search(pages.service.dump())
    for _ in range(2):  # a promise that nobody took stands in the way of no other
        await pages.post(f"{place}/rotate-secret", switch_after="0s")
    assert [bool(SEEN.search(await pages.get(place))) for _ in range(2)] == [True, False]
    await pages.post(f"{place}/rotate-secret", switch_after="0s")
    late = clock.text(clock.now() - PROMISED_FOR - timedelta(seconds=1))
    pages.service.execute(f"UPDATE request_keys SET created_at = '{late}'")
    assert not SEEN.search(await pages.get(place))
