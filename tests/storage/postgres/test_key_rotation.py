"""The key of sealed values where daemons share a database: each has read a new one before anything is sealed with it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions.sealing import rotate_key
from almirant_webhooks.cli import sealing
from almirant_webhooks.cli.run_action import CommandDatabase, caller, run_action
from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import of
from almirant_webhooks.rules.buckets import BUCKETS
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.engine import Session
from almirant_webhooks.storage.postgres.database_session import WRITERS, writing
from almirant_webhooks.storage.sql import audit, rotation, webhooks

from ...conftest import Receiver
from ...support.daemons import Daemons, project_in
from ...support.postgres_service import EverythingInPostgres
from ...support.service import SECRET

P = ParamSpec("P")
T = TypeVar("T")
HALF = BUCKETS // 2
CREATE = ("webhook", "create", "--project", "p", "--url", "https://example.com/in", "--event", "*")
TOKEN = "a-token-that-nobody-finds"
NEXT = "the-next-secret-that-nobody-finds"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
_SEALED = """
SELECT split_part(secret, ':', 3) FROM webhooks UNION SELECT split_part(seal_check, ':', 3) FROM database_meta
UNION SELECT split_part(links_key, ':', 3) FROM operator_keys
"""
_WAITS = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
_TELLS = "INSERT INTO daemons (id, name, request_seconds, key_ids, seen_at) VALUES ('dmn_two', 'two', 3, %s, now() + interval '1 hour')"
_TELLS_MORE = "UPDATE daemons SET key_ids = %s WHERE id = 'dmn_two'"
_OLDER = "INSERT INTO daemons (id, name, request_seconds, seen_at) VALUES ('dmn_old', 'of before', 3, now() + interval '1 hour')"


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[Daemons]:
    """A database with no daemon yet."""
    there = Daemons(tmp_path)
    there.options["daemon"] = {"name": "one"}
    there.migrate()
    yield there
    await there.close()


@pytest.fixture
async def second(first: Daemons, tmp_path: Path) -> AsyncIterator[Daemons]:
    """Another daemon on the same database, on a machine with a key file of its own, not started yet."""
    folder = tmp_path / "second"
    folder.mkdir()
    shutil.copy(first.key, folder)
    there = Daemons(folder, first)
    there.options["daemon"] = {"name": "two"}
    yield there
    await there.close()


def add_line(service: EverythingInPostgres) -> str:
    """Add a line with a new key to the file; return its id."""
    line = sealed_texts.new_line()
    service.key.write_text(service.key.read_text() + line)
    return line.split()[0]


def sealed_with(service: EverythingInPostgres) -> set[str]:
    """The ids of the keys with which anything is sealed."""
    return {key_id for (key_id,) in service.there.ask(_SEALED)}


async def test_nothing_is_sealed_anew_until_the_key_file_of_each_machine_has_the_new_line(
    first: Daemons, second: Daemons, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by the name of the daemon that lacks it, and nothing is disabled; then all is sealed anew, and both deliver."""
    await first.start(migrating=False)
    await first.until_shared(BUCKETS)
    await second.start(migrating=False)
    projects = [project_in(buckets) for buckets in await first.until_shared(HALF, HALF)]
    for project in projects:
        first.webhook(receiver.url, project=project, headers=HEADERS)
    (old,) = sealed_with(first)
    new = add_line(first)
    await first.until(
        lambda: first.there.ask("SELECT name FROM daemons WHERE key_ids LIKE %s", f"%{new}") == [("one",)]
    )
    shell = first.shell()
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "WAIT", 0.0)
        said = await asyncio.to_thread(shell.ours, "secrets", "rotate-key", code=1)
    assert f"Nothing is sealed with the key {new} until every daemon has read it" in said
    assert "These have not: two. Give the key file the same last line on each machine" in said
    create = ("webhook", "create", "--project", projects[1], "--url", receiver.url, "--event", "*")
    await asyncio.to_thread(shell.ours, *create)
    assert sealed_with(first) == {old}
    assert first.read(audit.entries, AuditSelection(action="key.rotated")) == []
    for project in projects:
        first.send(project)
    await first.until(lambda: first.states() == [("succeeded", 1)] * 3)

    shutil.copy(first.key, second.key)
    done = json.loads(await asyncio.to_thread(shell.ours, "secrets", "rotate-key", "--json"))
    assert done == {"key_id": new, "webhooks": 3, "problems": {}}
    assert sealed_with(first) == {new}
    assert len(first.read(audit.entries, AuditSelection(action="key.rotated"))) == 1
    for project in projects:
        first.send(project)
    await first.until(lambda: first.states() == [("succeeded", 1)] * 6)
    assert all(webhook.enabled for webhook in first.read(webhooks.find))
    values = [request.headers.get("Authorization") for request in receiver.requests]
    assert values.count(HEADERS["Authorization"]) == 4


def test_a_daemon_of_the_release_before_does_not_say_which_keys_it_has_read(
    first: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for as one that lacks the key, until it has been replaced."""
    monkeypatch.setattr(sealing, "WAIT", 0.0)
    first.webhook("https://example.com/in")
    first.there.ask(_OLDER)
    add_line(first)
    before = sealed_with(first)
    assert "These have not: of before." in first.shell().ours("secrets", "rotate-key", code=1)
    assert sealed_with(first) == before
    first.there.ask("DELETE FROM daemons")
    done = json.loads(first.shell().ours("secrets", "rotate-key", "--json"))
    assert sealed_with(first) == {done["key_id"]} != before


def test_nor_is_anything_sealed_with_a_key_of_which_it_does_not_say_that_it_has_read_it(first: Daemons) -> None:
    """By those beside it: it would disable a webhook whose secret it cannot open."""
    (old,) = sealed_with(first)
    first.there.ask(_OLDER)
    add_line(first)
    first.shell().ours(*CREATE)
    assert sealed_with(first) == {old}


async def test_what_another_daemon_seals_just_after_all_have_read_a_key_is_sealed_with_it(first: Daemons) -> None:
    """It need not have noticed yet that all have: it gives no sign of life meanwhile."""
    base = await first.serve()
    await first.until_shared(BUCKETS)
    (old,) = sealed_with(first)
    first.there.ask(_TELLS, old)
    new = add_line(first)
    await first.until(lambda: first.there.ask("SELECT FROM daemons WHERE name = 'one' AND key_ids LIKE %s", f"%{new}"))
    with first.there.connect() as somebody:
        somebody.execute("SELECT FROM daemons WHERE name = 'one' FOR UPDATE")
        first.there.ask(_TELLS_MORE, f"{old} {new}")
        await asyncio.to_thread(first.shell().ours, "secrets", "rotate-key")
        webhook = {"project_id": "p", "url": "https://example.com/in", "events": ["*"]}
        headers = {"Authorization": f"Bearer {first.keys().token}"}
        async with (
            aiohttp.ClientSession(base, headers=headers) as client,
            client.post("/api/v1/webhooks", json=webhook) as answer,
        ):
            assert answer.status == 201
    assert sealed_with(first) == {new}


async def test_a_command_that_waited_for_others_seals_with_the_key_that_all_have_read_by_then(first: Daemons) -> None:
    (old,) = sealed_with(first)
    first.there.ask(_TELLS, old)
    new = add_line(first)
    with closing(first.session()) as session, writing(session, statement=60.0):
        command = asyncio.create_task(asyncio.to_thread(first.shell().ours, *CREATE))
        await first.until(lambda: first.there.ask(_WAITS, WRITERS))
        first.there.ask(_TELLS_MORE, f"{old} {new}")
    await command
    assert first.there.ask("SELECT split_part(secret, ':', 3) FROM webhooks") == [(new,)]


def test_a_daemon_that_says_that_it_has_read_the_key_while_the_walk_begins_delays_nothing(first: Daemons) -> None:
    """Between the choice of the key that seals and the look whether all have read the new one: all is sealed with that."""
    first.webhook("https://example.com/in")
    (old,) = sealed_with(first)
    first.there.ask(_TELLS, old)
    new = add_line(first)

    class Telling(CommandDatabase):
        """The other daemon reads the key once a transaction has begun."""

        async def write(
            self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
        ) -> T:
            def later(conn: Session, /, *args: P.args, **kwargs: P.kwargs) -> T:
                first.there.ask(_TELLS_MORE, f"{old} {new}")
                return function(conn, *args, **kwargs)

            return await super().write(later, *args, **kwargs)

    settings = first.settings()
    rotated = rotate_key(Telling(settings), caller(), now=clock.now(), seals=of(settings))
    assert run_action(rotated).key_id == new
    assert sealed_with(first) == {new}


async def test_a_dump_has_no_secret(first: Daemons, receiver: Receiver) -> None:
    """Of webhooks that were created, changed and rotated, whose deliveries went well and failed."""
    await first.start(migrating=False)
    webhook = first.webhook(receiver.url, headers=HEADERS)
    first.insert()
    await first.until(lambda: first.states() == [("succeeded", 1)])
    now = clock.now()
    switch_at = now + timedelta(days=1)
    first.write(rotation.start, webhook.id, secret=NEXT, switch_at=switch_at, actor="operator", now=now)
    first.write(webhooks.update, webhook.id, options={"headers": {"X-Other": TOKEN}}, now=now)
    receiver.status = 500
    first.insert()
    await first.until(lambda: len(first.log(status="500")) == 1)
    dump = first.there.server.dump(first.there.database)
    assert webhook.id in dump
    assert dump.count("sealed:v1:") > 4
    secrets = (SECRET, SECRET.removeprefix("whsec_"), NEXT, TOKEN, *(first.key.read_text().split()[1:]))
    assert [secret for secret in secrets if secret in dump] == []
