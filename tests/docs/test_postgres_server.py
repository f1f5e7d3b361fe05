"""docs/postgresql-server.md, held against the daemon and a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from almirant_webhooks.storage.postgres.service import PostgresService

from ..conftest import Receiver
from ..support.postgres import new_tables
from ..support.postgres_roles import make_role
from ..support.postgres_service import EverythingInPostgres, shell_of_all

pytestmark = pytest.mark.long

PAGE = (Path(__file__).parents[2] / "docs" / "postgresql-server.md").read_text(encoding="utf-8")
OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'almirant-webhooks%' AND datname = current_database()"


def _block(name: str) -> str:
    found = re.search(rf"^<!-- postgres: {name} -->\n```\w+\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[EverythingInPostgres]:
    """A daemon that serves pages, not started yet."""
    there = EverythingInPostgres(tmp_path, new_tables())
    there.options["admin"] = {"listen": "127.0.0.1:0"}
    there.migrate()
    yield there
    await there.close()


async def test_a_daemon_has_as_many_connections_as_the_page_says(service: EverythingInPostgres) -> None:
    """Those of its workers, the one that says that it is alive, and the one that listens; and the table adds one for a moment."""
    daemon = await service.start(migrating=False)
    (said,) = re.findall(r"A daemon has (\d+) connections", PAGE)
    storage = daemon.storage
    assert isinstance(storage, PostgresService)
    assert int(said) == len(storage.workers) + 2
    await service.until(lambda: service.there.ask(OURS) == [(int(said),)])
    each = int(said) + 1
    assert f"| {each} for each daemon, and {each} for one more " in PAGE
    assert f"two daemons need {3 * each + 5} " in PAGE
    assert f"CONNECTION LIMIT {3 * each + 5}`" in PAGE


def test_autovacuum_is_set_as_the_page_says(service: EverythingInPostgres) -> None:
    """For the two tables that each delivery leaves a dead row in, by the page's own statement."""
    rows = dict(service.there.ask(_block("autovacuum")))
    said = re.findall(
        r"`(deliveries|outbox)`.*?`(?:autovacuum_vacuum_scale_factor = )?(0\.\d+)`",
        PAGE.partition("So `migrate` makes")[2],
    )
    assert len(said) == 2
    for table, factor in said:
        assert set(rows[table]) == {f"autovacuum_vacuum_scale_factor={factor}", "autovacuum_vacuum_threshold=10000"}
    assert rows.keys() == dict(said).keys()


async def test_the_statements_for_whoever_watches_run(service: EverythingInPostgres) -> None:
    """As they stand; each of them has a comment, and the one of daemons finds the daemon."""
    await service.start(migrating=False)
    statements = [text for text in _block("watch").split(";\n") if text.strip()]
    assert len(statements) == _block("watch").count("-- ") == 6
    rows = [service.there.ask(statement) for statement in statements]
    assert len(rows[-1]) == 1
    assert {row[0] for row in rows[0]} >= {"deliveries", "attempts", "events"}


def test_a_token_that_is_not_in_force_is_shown_to_nobody(service: EverythingInPostgres, tmp_path: Path) -> None:
    """With `admin.token` in the configuration the one that is made with the key of links opens nothing."""
    service.there.ask("DELETE FROM operator_keys")
    shell = shell_of_all(service, tmp_path)
    shell.config.write_text(shell.config.read_text().replace("[admin]", f'[admin]\ntoken = "{"t" * 40}"'))
    assert "token" not in shell.ours("migrate")
    assert service.ask("SELECT count(*) FROM operator_keys") == (1,)


@pytest.mark.slow
async def test_daemons_deliver_by_a_role_that_owns_nothing(
    service: EverythingInPostgres, receiver: Receiver, tmp_path: Path
) -> None:
    """It is granted what the page says; commands work by it too."""
    role = make_role(service.there, "daemons")
    service.there.ask(_block("grants").replace("TO almirant;", f"TO {role};"))
    service.url = service.there.server.url(service.there.database, role)
    await service.start(migrating=False)
    service.webhook(receiver.url)
    service.commit()
    await service.until(lambda: service.states() == [("succeeded", 1)])
    shell = shell_of_all(service, tmp_path)
    assert "succeeded" in shell.ours("delivery", "list")
    shell.ours("prune")
    shell.ours("event", "send", "--project", "proj_1", "--type", "lead.created", "--data", "{}")
    await service.until(lambda: service.states() == [("succeeded", 1)] * 2)


@pytest.mark.slow
async def test_a_dump_is_restored_and_the_daemon_goes_on(
    service: EverythingInPostgres, receiver: Receiver, tmp_path: Path
) -> None:
    """By the page's own commands: what was recorded is there, what waited is sent, and what was delivered since is gone."""
    await service.start(migrating=False)
    service.webhook(receiver.url)
    service.commit()
    await service.until(lambda: service.states() == [("succeeded", 1)])
    await service.stop()
    waiting = service.commit()
    programs = service.there.server.programs
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DATABASE_URL": service.there.url}

    def run(name: str) -> None:
        done = subprocess.run(
            ["sh", "-eu"], input=_block(name), text=True, cwd=tmp_path, env=environment, capture_output=True
        )
        assert done.returncode == 0, done.stderr

    assert shutil.which("pg_dump", path=environment["PATH"])
    run("dump")
    await service.start(migrating=False)
    await service.until(lambda: service.states() == [("succeeded", 1)] * 2)
    await service.stop()
    run("restore")
    assert service.states() == [("succeeded", 1)]
    await service.start(migrating=False)
    await service.until(lambda: service.states() == [("succeeded", 1)] * 2)
    assert [waiting in request.body.decode() for request in receiver.requests] == [False, True, True]
