"""The key of sealed values where daemons share a database: each has read a new one before anything is sealed with it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from almirant_webhooks import clock
from almirant_webhooks.cli import sealing
from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.rules.buckets import BUCKETS
from almirant_webhooks.storage.sql import audit, rotation, webhooks

from ...conftest import Receiver
from ...support.daemons import Daemons, project_in
from ...support.postgres_service import EverythingInPostgres
from ...support.service import SECRET

HALF = BUCKETS // 2
TOKEN = "a-token-that-nobody-finds"
NEXT = "the-next-secret-that-nobody-finds"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
_SEALED = """
SELECT split_part(secret, ':', 3) FROM webhooks UNION SELECT split_part(seal_check, ':', 3) FROM database_meta
UNION SELECT split_part(links_key, ':', 3) FROM operator_keys
"""
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
    line = sealed_texts.new_line()
    new = line.split()[0]
    first.key.write_text(first.key.read_text() + line)
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
    assert first.read(audit.entries, action="key.rotated") == []
    for project in projects:
        first.send(project)
    await first.until(lambda: first.states() == [("succeeded", 1)] * 3)

    second.key.write_text(second.key.read_text() + line)
    done = json.loads(await asyncio.to_thread(shell.ours, "secrets", "rotate-key", "--json"))
    assert done == {"key_id": new, "webhooks": 3, "problems": {}}
    assert sealed_with(first) == {new}
    assert len(first.read(audit.entries, action="key.rotated")) == 1
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
    first.key.write_text(first.key.read_text() + sealed_texts.new_line())
    before = sealed_with(first)
    assert "These have not: of before." in first.shell().ours("secrets", "rotate-key", code=1)
    assert sealed_with(first) == before
    first.there.ask("DELETE FROM daemons")
    done = json.loads(first.shell().ours("secrets", "rotate-key", "--json"))
    assert sealed_with(first) == {done["key_id"]} != before


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
