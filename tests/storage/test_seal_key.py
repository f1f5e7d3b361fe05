"""The key of what is sealed: a new one, one that is given, and one that is lost."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import sealing as actions
from almirant_webhooks.cli import sealing as rotating
from almirant_webhooks.cli.run_action import CommandDatabase, caller, run_action
from almirant_webhooks.model import Misconfigured
from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import beside
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.settings import loading
from almirant_webhooks.storage.sql import audit, rotation, sealed, webhooks
from almirant_webhooks.storage.sqlite import lock
from almirant_webhooks.storage.sqlite.connection import open_database, transaction

from ..conftest import Receiver
from ..faults.process import DaemonProcess
from ..support.secret_texts import HEADERS, NEXT, TOKEN, found
from ..support.service import SECRET, Service
from ..support.shell import Shell
from ..web.test_pages import Pages


@pytest.fixture
def many(service: Service) -> Service:
    """A database with 7 webhooks, each with headers, of which one has two secrets."""
    service.migrate()
    ids = [service.webhook("https://example.com/in", headers=HEADERS).id for _ in range(7)]
    now = clock.now()
    service.write(rotation.start, ids[3], secret=NEXT, switch_at=now + timedelta(days=1), actor="o", now=now)
    return service


def is_key_given(service: Service) -> bool:
    """Tell whether the key file is the operator's, which the service adds nothing to."""
    return bool(service.settings().secrets.key_file)


def add_key(service: Service) -> str:
    """Add a line with a new key to the file; return its id."""
    line = sealed_texts.new_line()
    service.key.write_text(service.key.read_text() + line)
    return line.split()[0]


def key_ids(service: Service) -> set[str]:
    """The ids of the keys with which anything is sealed."""
    dump = found_sealed(service)
    return {text.split(":")[2] for text in dump}


def found_sealed(service: Service) -> list[str]:
    rows = service.execute(
        "SELECT secret, next_secret, headers FROM webhooks UNION ALL SELECT seal_check, NULL, NULL FROM database_meta"
    )
    texts = [text for secret, following, headers in rows for text in (secret, following, *(value for _, value in json.loads(headers or "[]")))]  # fmt: skip
    return [text for text in texts if text is not None and text.startswith("sealed:")]


@pytest.mark.parametrize("steps_before", [0, 1, 3, 99])
def test_a_new_key_seals_all_and_one_that_was_cut_short_goes_on(many: Service, steps_before: int) -> None:
    """After any step; the old key opens nothing that is there any more, and no third one is made."""
    (old,) = key_ids(many)
    new = add_key(many) if steps_before or is_key_given(many) else None
    if steps_before:
        reached: str | None = ""
        for _ in range(steps_before):
            if reached is not None:
                reached = many.write(sealed.reseal, reached, 2).reached
    done = json.loads(many.shell().ours("secrets", "rotate-key", "--json"))
    assert (done["webhooks"], done["problems"]) == (7, {})
    assert key_ids(many) == {done["key_id"]} != {old}
    assert new is None or done["key_id"] == new
    assert len(many.key.read_text().splitlines()) == 2
    many.key.write_text(many.key.read_text().splitlines()[1])
    assert many.read(sealed.unopenable) == (7, {})
    (entry,) = many.read(audit.entries, AuditSelection(action="key.rotated"))
    assert entry["detail"] == f"7 webhooks sealed with the key {done['key_id']}"


@pytest.mark.long
async def test_the_daemon_goes_on_while_the_key_is_changed(service: Service, receiver: Receiver) -> None:
    """It reads the file again once it has changed, which the command waits for, and seals with the newest."""
    address = await service.serve()
    for _ in range(3):
        service.webhook(receiver.url, headers=HEADERS)
    service.insert()
    await service.until(lambda: len(service.log(state="succeeded")) == 3)
    if is_key_given(service):
        add_key(service)
    said = await asyncio.to_thread(service.shell().ours, "secrets", "rotate-key", "--json")
    service.insert()
    await service.until(lambda: len(service.log(state="succeeded")) == 6)
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        form = {"project_id": "p", "url": "https://example.com/", "events": "*", "secret_kind": "generated"}
        assert (await Pages(service, client).post("/webhooks", None, **form))[0] == 303
    assert key_ids(service) == {json.loads(said)["key_id"]}
    assert receiver.requests[-1].headers["Authorization"] == HEADERS["Authorization"]


@pytest.mark.sqlite
def test_without_sealing_all_is_plain_on_purpose_and_sealed_again_when_it_is_on(many: Service, tmp_path: Path) -> None:
    """New ones at once, the others by `rotate-key`; `migrate` seals and leaves nothing plain."""
    shell = Shell(tmp_path, many.database)
    sealing = shell.config.read_text()
    shell.config.write_text(f"{sealing}[secrets]\nseal = false\n")
    shell.ours("webhook", "create", "--project", "p", "--url", "https://example.com/", "--event", "*", "--secret", NEXT)
    assert NEXT in "".join(text for _, text in found(tmp_path, NEXT))
    shell.ours("secrets", "rotate-key")
    assert found_sealed(many) == []
    assert {text for _, text in found(tmp_path, SECRET, TOKEN)} == {SECRET, TOKEN}
    beside(many.database).path.unlink()
    assert shell.ours("migrate") == ""
    assert json.loads(shell.ours("webhook", "list", "--json"))
    count = 7 * (1 + len(HEADERS)) + 2
    assert f"secrets.seal is false, and {count} secrets and header values" in shell.ours("doctor", code=1)
    shell.config.write_text(sealing)
    assert f"{count} secrets and header values that are plain" in shell.ours("doctor", code=1)
    shell.ours("migrate")
    assert "that are plain" not in shell.ours("doctor", code=1)
    assert found(tmp_path, SECRET, TOKEN, NEXT) == []
    assert many.read(sealed.unopenable) == (8, {})


@pytest.mark.parametrize("by", ["key_file", "credential"])
def test_a_key_is_given_by_the_configuration_or_by_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """It has to be there; nothing is made beside the database, and a new key is asked for."""
    shell, folder = Shell(tmp_path), tmp_path / "given"
    folder.mkdir()
    key = folder / "secrets.key_file"
    if by == "key_file":
        shell.config.write_text(f'{shell.config.read_text()}[secrets]\nkey_file = "{key}"\n')
        assert "There is no key file" in shell.ours("migrate", code=78)
        assert not key.exists()
    else:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    shutil.copy(beside_new(tmp_path), key)
    shell.ours("migrate")
    made = json.loads(shell.ours("webhook", "create", "--project", "p", "--url", "https://example.com/", "--event", "*", "--json"))  # fmt: skip
    assert not (tmp_path / "log.db.seal").exists()
    assert json.loads(shell.ours("webhook", "show", made["id"], "--secret", "--json"))["secret"] == made["secret"]
    assert "Add a line with a new one" in shell.ours("secrets", "rotate-key", code=1)
    line = beside_new(tmp_path / "given").read_text()
    key.write_text(key.read_text() + line)
    shell.ours("secrets", "rotate-key")
    key.write_text(line)
    assert json.loads(shell.ours("webhook", "show", made["id"], "--secret", "--json"))["secret"] == made["secret"]
    _, sources = loading.load_with_sources(str(shell.config))
    assert sources["secrets.key_file"] == (str(shell.config) if by == "key_file" else "credential secrets.key_file")


def beside_new(folder: Path) -> Path:
    """Make a key file, as a new database has one."""
    seals = beside(folder / "new.db")
    seals.ensure()
    return seals.path


@pytest.mark.sqlite
def test_where_the_key_is_lost_each_webhook_is_disabled_until_it_has_a_new_secret(
    many: Service, tmp_path: Path
) -> None:
    """The database is served again; what was held waits for the new ones."""
    shell = Shell(tmp_path, many.database)
    beside(many.database).path.unlink()
    assert "There is no key file" in shell.ours("secrets", "rotate-key", code=78)
    shell.ours("secrets", "rotate-key", "--lost")
    rows = many.read(webhooks.find)
    assert [row.enabled for row in rows] == [False] * 7
    conn = open_database(many.database)
    sealed.check(conn)
    with transaction(conn):
        webhooks.update(conn, rows[0].id, secret=NEXT, options={"headers": None}, now=clock.now())
    assert len(sealed.unopenable(conn)[1]) == 6
    conn.close()


@pytest.mark.sqlite
def test_a_new_key_for_a_database_of_another_key_is_refused(many: Service) -> None:
    """Before the file has another line."""
    seals = beside(many.database)
    seals.path.write_text("other " + seals.path.read_text().split()[1])
    os.utime(seals.path, ns=(1, 1))
    with pytest.raises(Misconfigured, match="is not that of this database"):
        run_action(actions.rotate_key(CommandDatabase(many.settings()), caller(), now=clock.now(), seals=seals))
    assert len(seals.path.read_text().splitlines()) == 1


@pytest.mark.sqlite
@pytest.mark.long
async def test_a_daemon_with_a_credential_of_before_has_to_be_started_again_before_anything_is_sealed_anew(
    service: Service, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a copy of the file; what is sealed meanwhile, it can open."""
    key, copies, folder = tmp_path / "seal", tmp_path / "credentials", tmp_path / "commands"
    copies.mkdir()
    folder.mkdir()
    key.write_text(sealed_texts.new_line())
    key.chmod(0o600)
    shell = Shell(folder, service.database)
    shell.config.write_text(f'{shell.config.read_text()}[secrets]\nkey_file = "{key}"\n')
    shell.ours("migrate")
    create = ("webhook", "create", "--project", "proj_1", "--url", receiver.url, "--event", "*", "--header", "X-A: b")
    await asyncio.to_thread(shell.ours, *create)
    shutil.copy(key, copies / "secrets.key_file")
    daemon = DaemonProcess(service, environment={"CREDENTIALS_DIRECTORY": str(copies)})
    daemon.start()
    try:
        (old,) = key_ids(service)
        key.write_text(key.read_text() + sealed_texts.new_line())
        with monkeypatch.context() as patch:
            patch.setattr(rotating, "WAIT", 0.0)
            await service.until(lambda: lock.key_ids(service.database) == [old])
            said = await asyncio.to_thread(shell.ours, "secrets", "rotate-key", code=1)
        assert f"These have not: the one on {service.database}." in said
        assert "restart a daemon" in said
        await asyncio.to_thread(shell.ours, *create)
        assert key_ids(service) == {old}
        service.insert()
        await service.until(lambda: len(service.log(state="succeeded")) == 2)
        assert daemon.stop() == 0
        shutil.copy(key, copies / "secrets.key_file")
        daemon.start()
        await service.until(lambda: len(lock.key_ids(service.database)) == 2)
        done = json.loads(await asyncio.to_thread(shell.ours, "secrets", "rotate-key", "--json"))
        assert key_ids(service) == {done["key_id"]} != {old}
        service.insert()
        await service.until(lambda: len(service.log(state="succeeded")) == 4)
        assert all(webhook.enabled for webhook in service.read(webhooks.find))
    finally:
        daemon.close()
