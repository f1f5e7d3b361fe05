"""An upgrade one by one: daemons of two releases on one database, of which the newer one has migrated it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from almirant_webhooks.rules.buckets import BUCKETS
from almirant_webhooks.storage.postgres import database_tables

from ...conftest import Receiver
from ...support.daemons import Daemons, project_in

pytestmark = pytest.mark.slow

HALF = BUCKETS // 2

# As a migration of the next release may be: what the release before reads and writes stays as it is.
NEXT = """
ALTER TABLE almirant_webhooks.webhooks ADD COLUMN colour text;
ALTER TABLE almirant_webhooks.database_meta ADD COLUMN colour text;
"""


def become_newer(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process be of the next release, which has a migration more; those that it starts are of this one."""
    shutil.copytree(Path(str(database_tables.MIGRATIONS)), folder)
    newer = database_tables.SCHEMA_VERSION + 1
    (folder / f"{newer:04}_colour.sql").write_text(NEXT)
    patch.setattr(database_tables, "MIGRATIONS", folder)
    patch.setattr(database_tables, "SCHEMA_VERSION", newer)


async def test_daemons_are_replaced_one_by_one_and_nothing_is_lost_or_sent_twice(
    daemons: Daemons, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older ones that run go on when the newer release migrates; one that starts afterwards refuses with 78."""
    older = [await daemons.another()]
    await daemons.until_shared(BUCKETS)
    older.append(await daemons.another())
    projects = [project_in(buckets) for buckets in await daemons.until_shared(HALF, HALF)]
    for project in projects:
        daemons.webhook(receiver.url, project=project)

    async def deliver(total: int) -> None:
        for project in projects:
            daemons.send(project)
        await daemons.until(lambda: daemons.states() == [("succeeded", 1)] * total)

    await deliver(2)
    become_newer(tmp_path / "migrations", monkeypatch)
    daemons.migrate()
    assert daemons.ask("SELECT schema_version FROM database_meta") == (database_tables.SCHEMA_VERSION,)
    await deliver(4)
    assert [process.returncode for process in older] == [None, None]
    late = await daemons.another()
    assert await late.wait() == 78
    assert "made by a newer release" in daemons.said.read_text()
    await daemons.start(migrating=False)
    await daemons.until(lambda: len(daemons.shares()) == 3)
    await deliver(6)
    for process, sizes in zip(older, ((HALF, HALF), (BUCKETS,)), strict=True):
        process.terminate()
        assert await process.wait() == 0
        await daemons.until_shared(*sizes)
    await deliver(8)
    sent = Counter(request.headers["X-Almirant-Delivery"] for request in receiver.requests)
    assert sorted(sent.values()) == [1] * 8
