"""An event that is sent by command or API, whose COMMIT in PostgreSQL gets no answer: it is there once, and its id is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks.ops import keys

from ..support.postgres import Outbox, new_database, new_tables
from ..support.postgres_service import EverythingInPostgres, PostgresService, shell_of
from . import postgres_bugs as bugs
from .cutting import Cut, cutting

pytestmark = pytest.mark.slow

STATEMENT = b"INSERT INTO outbox"
SEND = ["event", "send", "--project", "p", "--type", "lead.created", "--data", '{"n": 1}', "--json"]


async def send(folder: Path, there: Outbox, cut: Cut, *, cuts: int, code: int = 0) -> str:
    """Run `event send` while the first so many of its connections are cut at the COMMIT; return what it printed."""
    left = cuts

    def asked() -> Cut | None:
        nonlocal left
        left -= 1
        return cut if left >= 0 else None

    shell = shell_of(folder, there)
    shell.ours("migrate")
    async with cutting(there, STATEMENT, asked) as url:
        shell.config.write_text(shell.config.read_text().replace(there.url, url))
        printed = await asyncio.to_thread(shell.ours, *SEND, code=code)
    assert left < 0 or code
    return printed


def ids(there: Outbox) -> list[str]:
    return [event_id for (event_id,) in there.ask("SELECT event_id FROM outbox")]


@pytest.mark.parametrize("cut", Cut)
async def test_a_lost_answer_is_looked_up(tmp_path: Path, cut: Cut) -> None:
    """Whether the server had committed or not, and if it is lost twice."""
    there = new_database()
    printed = await send(tmp_path, there, cut, cuts=2)
    assert ids(there) == [json.loads(printed)["event_id"]]


async def test_another_event_instead_of_the_same_is_found_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.sends_once_more_as_another_event(monkeypatch)
    with pytest.raises(AssertionError):
        await test_a_lost_answer_is_looked_up(tmp_path, Cut.AFTER)


@pytest.mark.parametrize("cut", Cut)
async def test_an_answer_that_nobody_gives_is_told_with_the_event_s_id(tmp_path: Path, cut: Cut) -> None:
    """So that it can be sent again and is taken once."""
    there = new_database()
    said = await send(tmp_path, there, cut, cuts=10**6, code=1)
    assert "whether it was is not known" in said
    assert "Send it again with that event_id" in said
    assert all(event_id in said for event_id in ids(there))
    assert len(ids(there)) == {Cut.BEFORE: 0, Cut.AFTER: 1}[cut]


async def test_the_api_says_so_too(tmp_path: Path) -> None:
    """503, and not that nothing was changed; sent again with the id that it names, the event is there once."""
    service = PostgresService(tmp_path / "hooks.db", new_database())
    service.migrate()
    keys.ensure(service.database)
    headers = {"Authorization": f"Bearer {service.keys().token}"}
    event = {"project_id": "proj_1", "event_type": "lead.created", "payload": {"n": 1}, "event_id": "e-1"}
    is_cut = True
    async with cutting(service.there, STATEMENT, lambda: Cut.AFTER if is_cut else None) as service.url:
        try:
            base = await service.serve()
            async with aiohttp.ClientSession(base, headers=headers) as client:
                async with client.post("/api/v1/events", json=event) as answer:
                    assert answer.status == 503
                    words = (await answer.json())["detail"]
                is_cut = False
                async with client.post("/api/v1/events", json=event) as answer:
                    assert (answer.status, await answer.json()) == (202, {"event_id": "e-1"})
        finally:
            await service.close()
    assert "the event e-1 was committed, and whether it was is not known" in words
    assert ids(service.there) == ["e-1"]


@pytest.mark.parametrize("cut", Cut)
async def test_a_change_whose_commit_was_not_answered_is_not_said_to_be_undone(tmp_path: Path, cut: Cut) -> None:
    """By the API, with the database in PostgreSQL: 503, and that it is not known, as it may be there."""
    service = EverythingInPostgres(tmp_path, new_tables())
    cuts = iter([cut])
    webhook = {"project_id": "p", "url": "https://example.com/in", "events": ["*"]}
    async with cutting(service.there, b"INSERT INTO webhooks", lambda: next(cuts, None)) as service.url:
        try:
            base = await service.serve()
            headers = {"Authorization": f"Bearer {service.keys().token}"}
            async with (
                aiohttp.ClientSession(base, headers=headers) as client,
                client.post("/api/v1/webhooks", json=webhook) as answer,
            ):
                assert answer.status == 503
                words = (await answer.json())["detail"]
        finally:
            await service.close()
    assert "whether it was is not known" in words
    assert "nothing was changed" not in words
    assert len(service.there.ask("SELECT FROM webhooks")) == {Cut.BEFORE: 0, Cut.AFTER: 1}[cut]
