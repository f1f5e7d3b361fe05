"""The statements that both engines run, as PostgreSQL reads them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

from almirant_webhooks.ops import sealing
from almirant_webhooks.storage import sql
from almirant_webhooks.storage.postgres.connection import transaction
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, open_database
from almirant_webhooks.storage.postgres.database_tables import migrate_database
from almirant_webhooks.storage.postgres.dialect import spell, spell_rows

from ...support.postgres import new_tables

_PARTS = {"deliveries._FIRST_DUE", "filtering._DELETE", "resends._TOTALS"}  # of statements
_STATEMENT = re.compile(r"\s*(?:SELECT|WITH|INSERT|UPDATE|DELETE)\b")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseSession]:
    there, seals = new_tables(), sealing.beside(tmp_path_factory.mktemp("keys") / "database")
    migrate_database(there.place, seals)
    opened = open_database(there.place, seals)
    yield opened
    opened.close()


def statements() -> Iterator[tuple[str, str]]:
    """Every whole statement that a module has as a constant, spelled for PostgreSQL."""
    for found in pkgutil.iter_modules(sql.__path__):
        module = importlib.import_module(f"{sql.__name__}.{found.name}")
        for name, text in vars(module).items():
            if (
                not isinstance(text, str) or not _STATEMENT.match(text) or "{" in text
            ):  # the conformance suite runs those
                continue
            if f"{found.name}.{name}" in _PARTS:
                continue
            if "json_group_array(" in text:
                yield f"{found.name}.{name}", spell_rows(text).text
            else:
                yield f"{found.name}.{name}", spell(text).text


@pytest.mark.parametrize(("name", "text"), list(statements()))
def test_postgresql_takes_every_statement(session: DatabaseSession, name: str, text: str) -> None:
    """It knows each word, table, column and function, and can tell the type of each parameter."""
    with transaction(session):
        result = session.conn.pgconn.prepare(b"", text.encode())
        assert not result.error_message, result.error_message.decode()
