"""What the API, the pages and `/readyz` tell of the daemons that share a database (contract, section 6, *PostgreSQL*)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks.rules.buckets import BUCKETS

from ..support.daemons import Daemons, project_in
from ..support.service import Service

pytestmark = pytest.mark.long
TOKEN = "t" * 32


@pytest.fixture
async def daemons(tmp_path: Path) -> AsyncIterator[Daemons]:
    """A database with no daemon yet."""
    there = Daemons(tmp_path)
    there.migrate()
    there.options["admin"] = {"listen": "127.0.0.1:0", "token": TOKEN}
    yield there
    await there.close()


async def get(address: str, path: str) -> str:
    """Get as the operator does."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.get(address + path) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.text()


async def signed_in(address: str, path: str) -> str:
    """Get a page as the operator does, whose browser is signed in by the token."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.post(f"{address}/sign-in", data={"token": TOKEN}, headers={"Origin": address}) as answer:
            assert answer.status == 200, await answer.text()
        async with session.get(address + path) as answer:
            return await answer.text()


async def test_the_daemons_and_what_each_owns_are_listed(daemons: Daemons) -> None:
    """By the API, and on the operator's page; `/readyz` tells its own share."""
    daemons.options["daemon"] = {"name": "left of two"}
    daemon = await daemons.start(migrating=False)
    assert daemon.address is not None
    address = f"http://127.0.0.1:{daemon.address[1]}"
    await daemons.until_shared(BUCKETS)
    for bucket in (1, 2):
        daemons.webhook("http://127.0.0.1:9/", project=project_in([bucket]))
    assert '"buckets": 64, "projects": 2' in await get(address, "/api/v1/daemons")
    page = await signed_in(address, "/sessions")
    assert "64 of 64 buckets" in page
    assert "left of two" in page
    assert '"share": "delivering for 64 of 64 buckets"' in await get(address, "/readyz")


@pytest.mark.sqlite
async def test_the_one_daemon_of_a_file_is_not_listed(service: Service) -> None:
    """There is nobody to share with."""
    service.options["admin"] = {"listen": "127.0.0.1:0", "token": TOKEN}
    daemon = await service.start()
    assert daemon.address is not None
    address = f"http://127.0.0.1:{daemon.address[1]}"
    assert '"items": []' in await get(address, "/api/v1/daemons")
    assert "share" not in await get(address, "/readyz")
    assert "buckets" not in await signed_in(address, "/sessions")
