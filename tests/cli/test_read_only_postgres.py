"""What commands say of the daemons of a PostgreSQL that is read-only, where no daemon can note that it is alive."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.cli.database import NOT_KNOWN
from almirant_webhooks.storage.postgres import daemons

from ..support.postgres import FAST, Outbox, Server, new_database, new_tables
from ..support.postgres_service import EverythingInPostgres
from ..support.shell import Shell
from .test_doctor import findings

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]


def stats(shell: Shell) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(shell.ours("stats", "--json"))
    return printed


def make_read_only(there: Outbox) -> None:
    """Let it be so for each session that is open, and each new one."""
    there.ask(f"ALTER DATABASE {there.database} SET default_transaction_read_only = on")
    there.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
        there.database,
    )


def test_a_database_that_was_made_read_only_has_no_daemon_that_could_say_so(tmp_path: Path) -> None:
    """So `doctor` and `stats` say that it is not known, and what else could not be tried."""
    service = EverythingInPostgres(tmp_path, new_tables())
    service.migrate()
    shell = service.shell()
    assert findings(shell, 1)["daemon"][0] == "wrong"
    assert stats(shell)["daemon"]["running"] is False
    make_read_only(service.there)
    found = findings(shell, 1)
    assert found["daemon"] == ("warning", NOT_KNOWN)
    assert found["producers"] == (
        "warning",
        "Not tried: nothing can be inserted into a PostgreSQL that is read-only.",
    )
    assert found["PostgreSQL"][0] == "wrong"
    assert stats(shell)["daemon"]["running"] is None
    assert "running not known" in shell.ours("stats")


def test_a_daemon_that_has_just_said_it_is_alive_is_there_on_a_read_only_server_too(tmp_path: Path) -> None:
    """As on a standby that has what the daemon writes to the other server."""
    service = EverythingInPostgres(tmp_path, new_tables())
    service.migrate()
    service.there.ask(
        "INSERT INTO daemons (id, name, seen_at, request_seconds) VALUES ('d', 'd', clock_timestamp() + interval '1 hour', 1)"
    )
    make_read_only(service.there)
    assert stats(service.shell())["daemon"]["running"] is True


async def test_doctor_asks_the_daemon_of_this_configuration_itself(tmp_path: Path) -> None:
    """By `/readyz`, where `admin.listen` has a fixed port: it says what that answers."""
    service = EverythingInPostgres(tmp_path, new_tables())
    service.migrate()
    shell = service.shell()
    try:
        address = await service.serve()
        await service.until(service.is_well)
        config = shell.config.read_text()
        assert 'listen = ""' in config
        shell.config.write_text(config.replace('listen = ""', f'listen = "{address.removeprefix("http://")}"'))
        assert (await asyncio.to_thread(findings, shell, 0))["daemon"] == ("ok", "It runs and delivers.")
        make_read_only(service.there)
        await service.until(lambda: service.read(daemons.is_one_there) is None)
        result, words = (await asyncio.to_thread(findings, shell, 1))["daemon"]
        assert result == "warning"
        assert words.startswith(f"{NOT_KNOWN} The one of this configuration: it is not ready: ")
        assert "PostgreSQL is read-only here" in words
    finally:
        await service.close()


def test_a_standby_cannot_be_listened_to_and_doctor_says_so(tmp_path: Path) -> None:
    """Beside all that it can find out there."""
    first = Server(FAST)
    servers = [first]
    try:
        there = new_database(with_outbox=False, its_server=first)
        EverythingInPostgres(tmp_path, there).migrate()
        servers.append(Server(FAST, standby_of=first))
        found = findings(EverythingInPostgres(tmp_path, Outbox(servers[1], there.database)).shell(), 1)
    finally:
        for server in reversed(servers):
            server.remove()
    assert found["daemon"] == ("warning", NOT_KNOWN)
    assert found["NOTIFY"] == ("warning", "Not tried: cannot execute LISTEN during recovery.")
    assert "postgres" not in found
    assert found["secrets"][0] == "ok"
