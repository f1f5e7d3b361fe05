"""`backup FILE`: one moment of a busy database, whole or not there at all, from which `serve` runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from almirant_webhooks.model import Refused
from almirant_webhooks.ops.sealing import beside
from almirant_webhooks.storage.sqlite import backup
from almirant_webhooks.storage.sqlite.connection import open_reader

from ..conftest import Receiver
from ..support.service import Service
from ..support.shell import Shell

pytestmark = pytest.mark.sqlite

COMMAND = str(Path(sys.executable).with_name("almirant-webhooks"))


@pytest.mark.long
async def test_a_copy_of_a_busy_database_is_one_moment_and_serves(
    service: Service, receiver: Receiver, tmp_path: Path
) -> None:
    """Every event that was committed before it began is in it, and is delivered from it, once it is put in place."""
    service.migrate()
    service.webhook(receiver.url)
    await service.start()
    service.insert(*({"n": number} for number in range(300)))
    await service.until(lambda: len(receiver.requests) > 20)
    shell = Shell(tmp_path, service.database)
    before = set(service.insert({"last": True}))
    command = (COMMAND, "backup", "copy.db", "--json", "--config", str(shell.config))
    copying = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL)
    while copying.returncode is None:
        service.insert({"meanwhile": True})
        await asyncio.sleep(0.001)
    assert copying.returncode == 0
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert sorted(entry.name for entry in tmp_path.glob("*copy*")) == ["copy.db"]
    await service.stop()

    restored = Service(tmp_path / "restored.db")
    shutil.copy(tmp_path / "copy.db", restored.database)
    shutil.copy(beside(service.database).path, beside(restored.database).path)
    await restored.start()
    try:
        conn = restored.producer()
        taken = {row[0] for row in conn.execute("SELECT event_id FROM outbox")}
        conn.close()
        assert before <= taken
        await restored.until(lambda: {row["state"] for row in restored.log(limit=5000)} == {"succeeded"})
        await restored.until(lambda: len(restored.log(limit=5000)) == len(taken))
        assert restored.read(lambda conn: conn.execute("PRAGMA integrity_check").fetchone()[0]) == "ok"
    finally:
        await restored.close()


def test_no_file_is_overwritten_and_nothing_is_left_of_a_copy_that_failed(service: Service, tmp_path: Path) -> None:
    """Neither one that was there before, nor one that came while the copy was made."""
    service.migrate()
    shell = Shell(tmp_path, service.database)
    there = tmp_path / "there.db"
    there.write_text("mine")
    assert "not overwritten" in shell.ours("backup", "there.db", code=1)
    assert "cannot be written" in shell.ours("backup", "nowhere/copy.db", code=1)
    assert there.read_text() == "mine"
    later = tmp_path / "later.db"

    def somebody_else(_: int, __: int) -> None:
        later.write_text("theirs")

    conn = open_reader(service.database)
    with pytest.raises(Refused, match="not overwritten"):
        backup.copy(conn, later, somebody_else)

    def fail(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup.copy(conn, tmp_path / "never.db", fail)
    conn.close()
    assert later.read_text() == "theirs"
    assert not [name for name in os.listdir(tmp_path) if "part" in name or "never" in name]
