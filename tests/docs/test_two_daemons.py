"""docs/postgresql-database.md, *Try it*: its commands in one shell, as they stand but for the ports, on a server of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ..support.ports import free_port
from ..support.postgres import Outbox, Server, programs
from ..support.postgres_service import EverythingInPostgres

PAGE = (Path(__file__).parents[2] / "docs" / "postgresql-database.md").read_text(encoding="utf-8")
PORTS = ("8430", "8431", "8432")
# Who reads the page has no need of sudo's rights here: the server trusts whoever reaches its socket.
SUDO = '#!/bin/sh\nshift 2\nPGUSER=postgres exec "$@"\n'
UNTIL = 'until [ "$(psql hooks -Atc "SELECT {question}")" = "{answer}" ]; do sleep 0.1; kill -0 "$other"; done\n'
OWNED = "string_agg(n::text, ' ') FROM (SELECT count(*) AS n FROM almirant_webhooks.buckets GROUP BY daemon_id) v"
DONE = "count(*) FROM almirant_webhooks.deliveries WHERE state = 'succeeded'"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def server() -> Iterator[Server]:
    programs()
    made = Server()
    yield made
    made.remove()


def _block(name: str) -> str:
    found = re.search(rf"^<!-- two daemons: {name} -->\n```\w+\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_role_and_the_database_of_the_page_are_all_that_is_needed(server: Server, tmp_path: Path) -> None:
    """`migrate` makes the tables there, and `doctor` finds nothing wrong but that no daemon runs."""
    with server.connect(autocommit=True) as conn:
        for statement in filter(None, _block("role").split(";\n")):
            conn.execute(statement.encode())
    there = Outbox(server, "hooks")
    there.url = server.url("hooks", "almirant")
    shell = EverythingInPostgres(tmp_path, there).shell()
    shell.ours("migrate")
    found, _ = json.JSONDecoder().raw_decode(shell.ours("doctor", "--json", code=1))
    assert [one["check"] for one in found if one["result"] == "wrong"] == ["daemon"]


def test_the_page_leads_to_two_daemons_of_which_one_is_killed(server: Server, tmp_path: Path) -> None:
    """Each has half of the projects, and what comes after the kill is delivered too."""
    sudo = tmp_path / "sudo"
    sudo.write_text(SUDO)
    sudo.chmod(0o755)
    script = "".join(
        (
            "set -e\n",
            _block("start"),
            UNTIL.format(question=OWNED, answer="32 32"),
            "almirant-webhooks stats\n",
            _block("send"),
            UNTIL.format(question=DONE, answer="1"),
            _block("kill"),
            UNTIL.format(question=DONE, answer="2"),
            UNTIL.format(question=OWNED, answer="64"),
        )
    )
    for port in PORTS:
        assert port in script
        script = script.replace(port, str(free_port()))
    places = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{server.programs}:{os.environ['PATH']}",
        "PGHOST": str(server.folder),
        "USER": "reader",
        "PGUSER": "reader",
    }
    typed, printed = tmp_path / "typed.sh", tmp_path / "printed.log"
    typed.write_text(script)
    with printed.open("w") as output:
        shell = subprocess.Popen(
            ["bash", typed],
            cwd=tmp_path,
            env={**os.environ, **places},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        code = shell.wait(timeout=240)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    said = printed.read_text()
    assert code == 0, said
    assert said.count("owns 32 of 64") == 2
    received = (tmp_path / "received.log").read_text()
    assert "work_item.created" in received
    assert "work_item.moved" in received
