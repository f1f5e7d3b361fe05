"""`prune` erases old content where everything is in PostgreSQL too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ...conftest import Receiver
from ...support.postgres import new_tables
from ...support.postgres_service import EverythingInPostgres, shell_of_all

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("running", [True, False], ids=["daemon running", "daemon stopped"])
async def test_prune_erases_the_content_that_is_old_and_says_how_much(
    tmp_path: Path, receiver: Receiver, running: bool
) -> None:
    """`--dry-run` counts the same; the payload is gone from the outbox, which is kept here, and from the event."""
    service = EverythingInPostgres(tmp_path, new_tables())
    service.options["retention"] = {"outbox": "7d"}
    service.migrate()
    await service.start(migrating=False)
    service.webhook(receiver.url)
    service.commit('{"who": "Kierkegaard"}')
    await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
    if not running:
        await service.stop()
    shell = shell_of_all(service, tmp_path)
    shell.config.write_text(shell.config.read_text() + '[retention]\nbodies = "1ms"\noutbox = "7d"\n')
    counted = json.loads(await asyncio.to_thread(shell.ours, "prune", "--dry-run", "--json"))
    assert counted == {"deliveries": 0, "events": 0, "bodies": 1, "outbox": 0, "payloads": 1}
    done = json.loads(await asyncio.to_thread(shell.ours, "prune", "--json"))
    assert {name: done[name] for name in counted} == counted
    for question in ("SELECT payload FROM outbox", "SELECT body FROM events"):
        (text,) = service.ask(question)
        assert "Kierkegaard" not in text
    assert service.states() == [("succeeded", 1)]
    await service.close()
