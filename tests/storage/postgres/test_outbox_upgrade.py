"""An application's outbox in PostgreSQL of an earlier schema is served, and `doctor` says what it lacks and what mends that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url
from almirant_webhooks.storage.postgres import scripts
from almirant_webhooks.storage.postgres.outbox_installation import OutboxInstallation

from ...cli.test_doctor import findings
from ...conftest import Receiver
from ...support.postgres import Outbox, make_older, new_database, new_tables
from ...support.postgres_roles import make_daemon_role
from ...support.postgres_service import BESIDE, EverythingInPostgres, Make, PostgresService
from ...support.shell import Shell
from .test_odd_producers import dump

pytestmark = pytest.mark.slow

VERSION = "SELECT schema_version FROM outbox_meta"


@pytest.fixture(params=BESIDE)
def make(request: pytest.FixtureRequest) -> Make:
    """Make a service, not started yet, whose outbox is in a database of an application's."""
    return BESIDE[request.param]


def printed_sql(shell: Shell) -> str:
    """The SQL that `doctor` prints for the outbox, from its JSON."""
    found, _ = json.JSONDecoder().raw_decode(shell.ours("doctor", "--json", code=1))
    (sql,) = [finding["sql"] for finding in found if finding["sql"]]
    return str(sql)


def run(there: Outbox, sql: str) -> None:
    """Run statements as they stand, with a transaction of their own."""
    with there.server.connect(there.database, autocommit=True) as conn:
        conn.execute(sql.encode())


def test_the_sql_that_doctor_prints_brings_an_older_outbox_to_the_present_schema(tmp_path: Path, make: Make) -> None:
    """As it stands; `outbox-sql` prints the same for a migration of the application."""
    there = new_database()
    service = make(tmp_path, there)
    service.migrate()
    shell = service.shell()
    make_older(there)
    result, words = findings(shell, 1)["outbox schema"]
    assert result == "warning"
    assert "has outbox schema 1" in words
    assert "outbox-sql --postgres --schema almirant_webhooks --from 1" in words
    sql = printed_sql(shell)
    assert sql == f"BEGIN;\n\n{shell.run('outbox-sql', '--postgres', '--from', '1')}\nCOMMIT;\n"
    run(there, sql)
    assert "outbox schema" not in findings(shell, 1)
    assert there.ask(VERSION) == [(scripts.SCHEMA_VERSION,)]
    assert dump(there) == dump(new_database())


def test_an_outbox_in_the_database_is_brought_to_it_by_migrate(tmp_path: Path) -> None:
    """Until then it is served, and `doctor` warns."""
    service = EverythingInPostgres(tmp_path, new_tables())
    service.migrate()
    service.there.ask("UPDATE outbox_meta SET schema_version = 1")
    shell = service.shell()
    assert "`almirant-webhooks migrate`" in findings(shell, 1)["outbox schema"][1]
    shell.ours("webhook", "list")
    shell.ours("migrate")
    assert "outbox schema" not in findings(shell, 1)
    assert service.there.ask(VERSION) == [(scripts.SCHEMA_VERSION,)]


def test_who_does_not_own_an_older_outbox_serves_it_as_it_is(tmp_path: Path) -> None:
    """`migrate` says who can upgrade it, and a start by `serve --migrate` is not refused for it."""
    there = make_older(new_database(with_outbox=False))
    there.url = there.server.url(there.database, make_daemon_role(there))
    url = parse_postgres_url(there.url)
    assert url is not None
    (said,) = OutboxInstallation(Place(url, "almirant_webhooks")).migrate()
    assert "the outbox stays at schema 1, which is served too" in said
    assert "as this role may not change it (permission denied" in said
    assert "outbox-sql --postgres --schema almirant_webhooks --from 1" in said
    assert there.ask(VERSION) == [(1,)]
    shell = PostgresService(tmp_path / "log.db", there).shell()
    shell.ours("migrate")
    shell.ours("event", "send", "--project", "p", "--type", "lead.created", "--data", "{}")


async def test_a_daemon_goes_on_while_the_application_upgrades_its_outbox(
    tmp_path: Path, receiver: Receiver, make: Make
) -> None:
    """It serves the older one, and the new one without a restart."""
    there = new_database()
    service = make(tmp_path, there)
    service.migrate()
    make_older(there)
    try:
        await service.start(migrating=False)
        service.webhook(receiver.url)
        service.insert()
        await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
        assert there.ask(VERSION) == [(1,)]
        run(there, scripts.outbox_sql(version=1))
        service.insert()
        await service.until(lambda: service.states() == [("succeeded", 1)] * 2 and service.is_marked())
    finally:
        await service.close()
