"""`prune` erases what `retention.bodies` has kept for long enough: the log stays, and the files have nothing of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from almirant_webhooks.storage.sql import log

from ..conftest import Receiver
from ..support.bytes import files_with
from ..support.service import Service
from .test_erasing import NEEDLE, delivering, run, shell

OLD = '[retention]\nbodies = "1ms"\n'


@pytest.mark.long
@pytest.mark.parametrize(
    ("apart", "running"),
    [
        (False, False),
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
        pytest.param(True, True, marks=pytest.mark.slow),
    ],
)
async def test_prune_erases_the_content_that_is_old_and_says_how_much(
    tmp_path: Path, receiver: Receiver, apart: bool, running: bool
) -> None:
    """`--dry-run` counts the same and erases nothing; with the daemon running and stopped, the outbox apart and not."""
    folder = tmp_path / "data"
    service, event = await delivering(folder, receiver, apart=apart)
    await service.until(lambda: service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL") == (0,))
    if not running:
        await service.stop()
    there = shell(service, tmp_path / "shell")
    assert {"bodies", "payloads"}.isdisjoint(json.loads(await run(there, "prune", "--json")))
    assert files_with(folder, NEEDLE.encode())
    there.config.write_text(there.config.read_text() + OLD)
    counted = json.loads(await run(there, "prune", "--dry-run", "--json"))
    assert counted == {"deliveries": 0, "events": 0, "bodies": 1, "outbox": 0, "payloads": 1}
    assert files_with(folder, NEEDLE.encode())
    done = json.loads(await run(there, "prune", "--json"))
    assert {name: done[name] for name in counted} == counted
    assert files_with(folder, NEEDLE.encode()) == []
    assert service.read(log.event, event)["erased_at"]
    assert [row["state"] for row in service.log()] == ["succeeded"]
    done = json.loads(await run(there, "prune", "--json"))
    assert (done["bodies"], done["payloads"]) == (0, 0)
    await service.close()


@pytest.mark.long
async def test_prune_spares_the_content_of_what_waits(tmp_path: Path, receiver: Receiver) -> None:
    """The producer's row is not needed any more, and is overwritten; in an application's file too, in its rows alone."""
    folder = tmp_path / "data"
    folder.mkdir()
    application = folder / "app.db"
    with closing(sqlite3.connect(application)) as conn:
        conn.execute("CREATE TABLE orders (id INTEGER)")
    service = Service(folder / "log.db", application)
    receiver.status = 503
    await service.start()
    service.webhook(receiver.url)
    (event,) = service.insert({"who": NEEDLE})
    await service.until(lambda: service.log(status="503"))
    await service.until(lambda: service.ask("SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL") == (0,))
    await service.stop()
    there = shell(service, tmp_path / "shell")
    there.config.write_text(there.config.read_text() + OLD)
    done = json.loads(await run(there, "prune", "--json"))
    assert (done["bodies"], done["payloads"]) == (0, 1)
    assert service.read(log.event, event)["erased_at"] is None
    with closing(sqlite3.connect(application)) as conn:
        assert conn.execute("SELECT count(*) FROM outbox WHERE payload LIKE ?", (f"%{NEEDLE}%",)).fetchone() == (0,)
    assert service.log()[0]["state"] == "pending"
    await service.close()
