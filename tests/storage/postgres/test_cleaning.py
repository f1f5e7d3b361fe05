"""What is looked at again until it is done: tables that somebody has locked, and keys that cannot be opened yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.storage.postgres import operator_keys, outbox
from almirant_webhooks.storage.postgres.database_session import open_database, writing
from almirant_webhooks.storage.postgres.stores import PostgresCleaningStore

from ...support.postgres import new_database, new_tables
from ...support.postgres_service import EverythingInPostgres

LOCK = "LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE"  # as autovacuum has it


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[EverythingInPostgres]:
    there = EverythingInPostgres(tmp_path, new_tables())
    there.migrate()
    yield there
    await there.close()


@pytest.mark.long
@pytest.mark.parametrize("table", ["events", "outbox"])
def test_what_was_erased_is_not_gone_while_a_table_could_not_be_vacuumed(
    service: EverythingInPostgres, table: str
) -> None:
    """Somebody else is at it: it is done again later."""
    empty = PostgresCleaningStore().empty_outbox_wal
    with service.there.connect() as somebody:
        somebody.execute(LOCK.format(table))
        assert service.read(empty) is False
    assert service.read(empty) is True


@pytest.mark.long
def test_so_with_an_outbox_in_an_application_s_database() -> None:
    there = new_database()
    with there.session() as session:
        with there.connect() as somebody:
            somebody.execute(LOCK.format("outbox"))
            assert outbox.vacuum(session) is False
        assert outbox.vacuum(session) is True


@pytest.mark.slow
async def test_a_token_is_over_once_it_was_rotated_though_the_new_keys_cannot_be_opened(
    service: EverythingInPostgres,
) -> None:
    """By a command that has a key which this daemon does not have yet: nothing that was signed before is taken either."""
    daemon = await service.start()
    keys = daemon.storage.operator_keys
    assert keys is not None
    before, signing_key = service.keys().token, keys.signing_key
    assert keys.is_token(before)
    other = service.database.with_name("other.key")
    other.write_text(sealed_texts.new_line())
    other.chmod(0o600)
    with (
        closing(open_database(service.there.place, Seals(other, is_own=False))) as session,
        writing(session),
    ):
        token = operator_keys.rotate(session)
    await service.until(lambda: keys.is_token(token))
    assert not keys.is_token(before)
    assert keys.signing_key != signing_key
    service.key.write_text(service.key.read_text() + other.read_text())  # its file is brought up to date
    await service.until(lambda: keys.signing_key == service.keys().signing_key)
