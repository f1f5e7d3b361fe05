"""Pages and API are the same by whichever of the daemons that share a database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks.client import ApiError, Client
from almirant_webhooks.rules.buckets import BUCKETS
from almirant_webhooks.web.sessions import COOKIE

from ..conftest import Receiver
from ..support import sessions
from ..support.daemons import Daemons, project_in
from ..support.postgres_service import shell_of_all

pytestmark = pytest.mark.slow


@pytest.fixture
async def other(daemons: Daemons, tmp_path: Path) -> AsyncIterator[Daemons]:
    """Another daemon on the same database, not started yet."""
    there = Daemons(tmp_path, daemons)
    yield there
    await there.close()


@pytest.fixture
async def both(daemons: Daemons, other: Daemons) -> tuple[str, str]:
    """The addresses of two daemons, with half of the projects each, which look into the outbox of themselves once an hour."""
    addresses = []
    for each in (daemons, other):
        each.options["outbox"] = {"poll_interval": "1h"}
        addresses.append(await each.serve())
    await daemons.until_shared(BUCKETS // 2, BUCKETS // 2)
    return addresses[0], addresses[1]


async def ask(method: str, address: str, path: str, cookie: str = "", **form: str) -> tuple[int, str, str]:
    """Return the status of an answer, its text (or where it leads), and the cookie of the session that it begins."""
    jar = aiohttp.DummyCookieJar()
    async with (
        aiohttp.ClientSession(address, cookie_jar=jar, headers={"Cookie": cookie} if cookie else {}) as client,
        client.request(method, path, data=form or None, allow_redirects=False) as answer,
    ):
        morsel = answer.cookies.get(COOKIE)
        text = answer.headers.get("Location", "") if form else await answer.text()
        return answer.status, text, f"{COOKIE}={morsel.value}" if morsel else ""


async def test_a_link_that_was_opened_at_one_daemon_is_used_up_at_all(daemons: Daemons, both: tuple[str, str]) -> None:
    """Its session is valid at each of them, and over at each once it was ended at one."""
    link = sessions.link(daemons)
    status, _, cookie = await ask("POST", both[0], link)
    assert (status, bool(cookie)) == (303, True)
    for address in both:
        assert (await ask("GET", address, "/webhooks", cookie))[0] == 200
    for address in both:
        status, text, begun = await ask("POST", address, link)
        assert (status, "used already" in text, begun) == (403, True, "")
    assert (await ask("POST", both[1], "/sign-out", cookie))[0] == 303
    for address in both:
        assert (await ask("GET", address, "/webhooks", cookie))[0] != 200


async def test_an_event_that_is_sent_to_one_daemon_reaches_the_owner_of_its_project(
    daemons: Daemons, both: tuple[str, str], receiver: Receiver
) -> None:
    """By the notice of its commit: nobody looks for an hour. It is the same whichever daemon is asked."""
    token = daemons.keys().token
    projects = [project_in(buckets) for buckets in daemons.shares().values()]
    for project in projects:
        daemons.webhook(receiver.url, project=project)
    for address in both:
        client = Client(address, token)
        for project in projects:
            await asyncio.to_thread(client.send_event, "lead.created", {}, project_id=project)
    await daemons.until(lambda: daemons.states() == [("succeeded", 1)] * 4)
    assert len(receiver.requests) == 4


async def test_a_secret_that_was_made_at_one_daemon_is_shown_once_at_whichever_is_asked_next(
    daemons: Daemons, both: tuple[str, str], receiver: Receiver
) -> None:
    """As a proxy may lead there: it was known to the first alone. So are one that is revealed, and an API token, without scripts."""
    cookie, of_it = sessions.cookie(daemons, "proj_1")["Cookie"], ""
    for path, form in (
        ("/webhooks", {"url": receiver.url, "events": "*", "secret_kind": "generated"}),
        ("/rotate-secret", {"switch_after": "24h"}),
        ("/secret", {"unscripted": "1"}),
        ("/tokens", {"name": "ci", "unscripted": "1", "once": "k" * 22}),
    ):
        whole = path if path in ("/webhooks", "/tokens") else of_it + path
        status, place, _ = await ask("POST", both[0], whole, cookie, **form)
        of_it = of_it or place
        looks = [await ask("GET", address, place, cookie) for address in (both[1], both[0], both[1])]
        shows = [bool(re.search(r"(whsec|awa)_[\w+/=-]{40,}", text)) for _, text, _ in looks]
        assert (status, shows) == (303, [True, False, False]), path


async def test_a_token_that_was_rotated_is_over_at_every_daemon(
    daemons: Daemons, other: Daemons, tmp_path: Path
) -> None:
    """And the new one opens each of them."""
    addresses = [await daemons.serve(), await other.serve()]
    old = daemons.keys().token
    shell = shell_of_all(daemons, tmp_path)
    new = (await asyncio.to_thread(shell.ours, "token", "--rotate", "--yes")).split()[-1]
    for service in (daemons, other):
        assert service.daemon is not None
        keys = service.daemon.storage.operator_keys
        assert keys is not None
        await service.until(lambda keys=keys: keys.is_token(new))  # type: ignore[misc]
    for address in addresses:
        assert (await asyncio.to_thread(Client(address, new).who_am_i))["role"] == "operator"
        with pytest.raises(ApiError, match="401"):
            await asyncio.to_thread(Client(address, old).who_am_i)
