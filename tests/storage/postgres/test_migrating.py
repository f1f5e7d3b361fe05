"""Several that migrate a database in PostgreSQL at once, and one that does while batches are written."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from almirant_webhooks.ops import sealed_texts, sealing
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url
from almirant_webhooks.storage.postgres import database_tables
from almirant_webhooks.storage.postgres.database_session import WRITERS, writing
from almirant_webhooks.storage.postgres.database_tables import migrate_database

from ...support.daemons import Daemons
from ...support.postgres import new_database
from ...support.postgres_roles import make_role
from .test_rolling_upgrade import become_newer

VERSION = "SELECT schema_version FROM database_meta"
WAITS = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"

pytestmark = pytest.mark.long


async def test_several_that_migrate_at_once_make_everything_once(tmp_path: Path) -> None:
    """None fails, and each change is told by the one that made it."""
    there, key = new_database(with_outbox=False), tmp_path / "key"
    key.write_text(sealed_texts.new_line())
    key.chmod(0o600)
    told = await asyncio.gather(
        *(asyncio.to_thread(migrate_database, there.place, Seals(key, is_own=False)) for _ in range(4))
    )
    said = Counter(line for lines in told for line in lines)
    assert set(said.values()) == {1}
    assert sum("the operator's token made" in line for line in said) == 1
    assert there.ask(VERSION) == [(database_tables.SCHEMA_VERSION,)]


async def test_a_migration_begins_once_the_batches_that_are_under_way_are_written(
    daemons: Daemons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes tables of which they have rows locked: each would wait for the other."""
    become_newer(tmp_path / "migrations", monkeypatch)
    monkeypatch.setattr(database_tables, "_check_names_are_free", lambda session: None)  # it waits for them too
    with closing(daemons.session()) as session:
        with writing(session, statement=60.0, alone=False):
            migration = asyncio.create_task(asyncio.to_thread(daemons.migrate))
            await daemons.until(lambda: daemons.there.ask(WAITS, WRITERS))
            assert daemons.there.ask(VERSION) == [(database_tables.SCHEMA_VERSION - 1,)]
            session.execute("UPDATE database_meta SET revision = revision + 1")
        await migration
    assert daemons.there.ask(VERSION) == [(database_tables.SCHEMA_VERSION,)]


def test_a_role_without_further_rights_makes_the_tables_of_its_own_database(tmp_path: Path) -> None:
    """It is no superuser, as a managed server's is none."""
    there = new_database(with_outbox=False)
    role = make_role(there, "owner")
    there.ask(f"ALTER DATABASE {there.database} OWNER TO {role}")
    url = parse_postgres_url(there.server.url(there.database, role))
    assert url is not None
    place = Place(url, "almirant_webhooks")
    migrate_database(place, sealing.beside(tmp_path / "database"))
    assert there.ask(VERSION) == [(database_tables.SCHEMA_VERSION,)]
