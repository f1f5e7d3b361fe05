"""What is secret is sealed in the database: nobody finds it there without the key, and with the key all goes on."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import sealing as actions
from almirant_webhooks.cli import sealing as rotating
from almirant_webhooks.cli.run_action import CommandDatabase, caller, run_action
from almirant_webhooks.model import RESERVED_PROJECT, Misconfigured
from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import beside
from almirant_webhooks.settings import loading
from almirant_webhooks.storage.sql import audit, log, rotation, sealed, webhooks
from almirant_webhooks.storage.sqlite import free_pages, lock
from almirant_webhooks.storage.sqlite.connection import open_database, transaction
from almirant_webhooks.storage.sqlite.migrate import migrate

from ..conftest import Receiver
from ..faults.process import DaemonProcess
from ..support.service import SECRET, Service
from ..support.shell import Shell
from ..web.test_pages import Pages
from ..web.test_webhook_pages import words_of
from .test_upgrade import VERSIONS, restore

TOKEN = "a-token-that-nobody-finds"
NEXT = "the-next-secret-that-nobody-finds"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Team": "of boards"}


_KILLED = """
import os, sys
from pathlib import Path
from almirant_webhooks.storage.sqlite import free_pages, migrate
free_pages.overwrite = lambda conn, path: os.kill(os.getpid(), 9)
migrate.migrate(Path(sys.argv[1]), None)
"""


def found(folder: Path, *texts: str) -> list[tuple[str, str]]:
    """Return where a text is: in each file of a folder but the key's, and in the dump of each database."""
    places = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".seal"}
    for path in folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as conn:
            places[f".dump of {path.name}"] = "\n".join(conn.iterdump()).encode()
    return [(name, text) for name, content in places.items() for text in texts if text.encode() in content]


def leave_in_free_pages(path: Path, text: str) -> None:
    """Have many pages of a database hold a text that is in no table any more."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA secure_delete=OFF")
        conn.execute("CREATE TABLE gone (secret TEXT)")
        conn.executemany("INSERT INTO gone VALUES (?)", [(f"{text} {number} {'x' * 300}",) for number in range(1000)])
        conn.commit()
        conn.execute("DROP TABLE gone")
        conn.commit()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upgrade_seals_what_is_there_and_leaves_nothing_of_it(version: int, tmp_path: Path) -> None:
    """Neither in rows, in pages that are free since a deletion, nor in the WAL; what was sealed opens."""
    path = tmp_path / "hooks.db"
    restore(version, path)
    with closing(sqlite3.connect(path)) as conn:
        before = {row[0]: row[1] for row in conn.execute("SELECT id, secret FROM webhooks WHERE secret != ''")}
    leave_in_free_pages(path, TOKEN)
    assert before
    assert len({text for _, text in found(tmp_path, *before.values(), TOKEN)}) == len({*before.values(), TOKEN})
    lines = migrate(path, None)
    assert any("sealed with the key in" in line for line in lines)
    assert found(tmp_path, *before.values(), TOKEN) == []
    conn = open_database(path)
    rows = conn.execute("SELECT id, secret FROM webhooks WHERE secret != ''").fetchall()
    assert {row["id"]: sealed.open_or_none(conn, row["id"], "secret", row["secret"]) for row in rows} == before
    assert sealed.unopenable(conn) == (len(before), {})
    assert not sealed.is_plain_left(conn)
    conn.close()
    assert migrate(path, None) == []


@pytest.mark.sqlite
async def test_through_a_webhook_s_life_no_file_and_no_line_has_a_secret(
    service: Service, receiver: Receiver, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Created, changed, rotated, settled, delivered, with a failure; the receiver gets the true ones."""
    answers = iter([500, 200, 200])
    await service.start()
    webhook = service.webhook(receiver.url, headers=HEADERS)
    receiver.status = next(answers)
    service.insert()
    await service.until(lambda: receiver.requests)
    receiver.status = next(answers)
    now = clock.now()
    service.write(rotation.start, webhook.id, secret=NEXT, switch_at=now - timedelta(days=2), actor="operator", now=now)
    service.write(rotation.settle, now)
    service.write(webhooks.update, webhook.id, options={"headers": {"X-Other": TOKEN}}, now=now)
    service.insert()
    await service.until(lambda: len(receiver.requests) >= 2)
    assert receiver.requests[-1].headers["Authorization"] == HEADERS["Authorization"]
    assert service.write(rotation.reveal, webhook.id, actor="operator", now=now).current == NEXT
    shell = Shell(tmp_path, service.database)
    said = await asyncio.to_thread(shell.ours, "backup", str(tmp_path / "copy.db"))
    assert said == ""
    assert found(tmp_path, SECRET, TOKEN, NEXT, "of boards") == []
    assert not any(text in stream for stream in capfd.readouterr() for text in (SECRET, TOKEN, NEXT))
    await service.stop()
    assert found(tmp_path, SECRET, TOKEN, NEXT, "of boards") == []


@pytest.mark.sqlite
async def test_a_secret_is_opened_once_however_many_requests_it_signs(service: Service, receiver: Receiver) -> None:
    """The connections of a daemon share what they have opened."""
    daemon = await service.start()
    service.webhook(receiver.url, headers=HEADERS)
    service.insert(*({"n": number} for number in range(50)))
    await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 50)
    seals = daemon.storage._seals  # type: ignore[attr-defined]
    assert seals._open.cache_info().misses == 4, "the secret, two headers, and what proves the key"


@pytest.mark.parametrize("what", ["none", "another database's", "too short", "of another mode"])
async def test_without_its_key_the_service_stops_before_anything_is_sent(
    service: Service, receiver: Receiver, what: str
) -> None:
    """With 78 and words; commands that show no secret work, and others exit 78."""
    service.migrate()
    webhook = service.webhook(receiver.url).id
    service.insert()
    key = service.key
    if what == "none":
        key.unlink()
    elif what == "another database's":
        key.write_text("k7 " + sealed_texts.new_line().split()[1])
    elif what == "too short":
        key.write_text("k1 AAAA\n")
    else:
        key.chmod(0o644)
    words = {
        "none": "There is no key file",
        "another database's": "is not that of this database",
        "too short": "has 3 bytes, and must have 32",
        "of another mode": "chmod 0600",
    }[what]
    with pytest.raises(Misconfigured, match=words):
        await service.start(migrating=False)
    service.daemon = None
    shell = service.shell()
    if what == "none":
        assert words in await asyncio.to_thread(shell.ours, "serve", "--migrate", code=78)
    assert webhook in await asyncio.to_thread(shell.ours, "webhook", "list")
    code = 1 if what == "another database's" else 78
    assert "wh_" in await asyncio.to_thread(shell.ours, "webhook", "show", webhook)
    said = await asyncio.to_thread(shell.ours, "webhook", "show", webhook, "--secret", code=code)
    assert "key" in said
    assert "secrets" in await asyncio.to_thread(shell.ours, "doctor", code=1)
    assert receiver.requests == []


def tamper(service: Service, webhook_id: str, value: str) -> None:
    """Change a row by hand."""
    service.execute("UPDATE webhooks SET secret = ? WHERE id = ?", value, webhook_id)


async def check_pages_and_api_say_why(pages: Pages, webhook_id: str, why: str) -> None:
    """Once, and without what they say of one that was disabled for its failures."""
    page = await pages.get(f"/webhooks/{webhook_id}", None)
    assert page.count("cannot be opened") == 1
    told = words_of(page)
    assert "The service disabled this webhook" in told
    assert re.search(rf"{why} [^.]+\. 1 delivery is held until it is enabled\. See it Give it a new secret", told)
    assert "Enable it once its receiver is well" not in told
    assert "answers 503" not in told
    assert why in words_of(await pages.get("/webhooks", None))
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    async with pages.client.get(f"/api/v1/webhooks/{webhook_id}", headers=headers) as answer:
        assert (await answer.json())["disabled_reason"].startswith(why)


@pytest.mark.parametrize("when", ["before its events", "between two attempts"])
async def test_a_row_that_was_tampered_with_stops_its_own_webhook_alone(
    service: Service, receiver: Receiver, when: str
) -> None:
    """It says why on its page, in its trail, by `webhook show` and `doctor`; with a new secret what was held goes on."""
    service.options["delivery"] = {"retry_schedule": ["0s", "0s", "0s"]}
    address = await service.serve()
    well, other = service.webhook(receiver.url, "work_item.*"), service.webhook(receiver.url, "work_item.*")
    channel = service.webhook(f"{receiver.url}/told", "almirant.webhook.disabled")
    operators = service.webhook(f"{receiver.url}/told", "webhook.disabled", project=RESERVED_PROJECT)
    (stored,) = service.ask(f"SELECT secret FROM webhooks WHERE id = '{well.id}'")
    if when == "before its events":
        tamper(service, other.id, stored)
    else:
        held = asyncio.Event()

        async def tampering(_: object) -> aiohttp.web.Response:
            tamper(service, other.id, stored)
            held.set()
            return aiohttp.web.Response(status=503)

        receiver.answer = tampering
    service.insert()
    await service.until(lambda: not service.read(webhooks.get, other.id).enabled)
    receiver.answer = None
    tested = service.write(webhooks.request_test, other.id, "lead.created", "{}", clock.now())
    await service.until(lambda: service.read(log.delivery, tested)["state"] == "cancelled")
    assert "cannot be opened" in (service.read(log.delivery, tested)["cancelled_reason"] or "")
    await service.until(lambda: service.log(webhook_id=well.id, state="succeeded"))
    (row,) = service.log(webhook_id=other.id, state="pending")
    assert (row["state"], row["held"]) == ("pending", 1)
    (entry,) = service.read(audit.entries, webhook_id=other.id, action="webhook.disabled")
    why = f"the secret of {other.id} cannot be opened: the key"
    assert entry["actor"] == "the service"
    assert entry["detail"].startswith(why)
    for told in (channel, operators):
        await service.until(lambda: service.log(webhook_id=told.id, state="succeeded"))  # noqa: B023
    notices = [json.loads(request.body) for request in receiver.requests if request.path.endswith("/told")]
    assert {notice["type"] for notice in notices} == {"almirant.webhook.disabled", "webhook.disabled"}
    for notice in notices:
        assert notice["data"]["webhook"]["id"] == other.id
        assert notice["data"]["cause"].startswith(why)
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        await check_pages_and_api_say_why(Pages(service, client), other.id, why)
    shell = service.shell()
    assert f"{other.id} was disabled by the service" in await asyncio.to_thread(shell.ours, "webhook", "list")
    sentence = why.replace("the secret", "The secret")
    assert sentence in await asyncio.to_thread(shell.ours, "doctor", "--json", code=1)
    assert sentence in await asyncio.to_thread(shell.ours, "webhook", "show", other.id, "--secret", code=1)
    await asyncio.to_thread(shell.ours, "webhook", "update", other.id, "--secret", NEXT)
    await asyncio.to_thread(shell.ours, "webhook", "enable", other.id)
    await service.until(lambda: service.log(webhook_id=other.id, state="succeeded"))


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
    (entry,) = many.read(audit.entries, action="key.rotated")
    assert entry["detail"] == f"7 webhooks sealed with the key {done['key_id']}"


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


def test_a_reader_puts_off_what_overwrites_the_free_space(tmp_path: Path) -> None:
    """It is said, `doctor` reminds, and the next `migrate` does it."""
    path = tmp_path / "hooks.db"
    restore(6, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM webhooks").fetchone()
        assert any("Run `almirant-webhooks migrate` again" in line for line in migrate(path, None))
    conn = open_database(path)
    assert sealed.is_plain_left(conn)
    conn.close()
    assert "may be left in the file's free space" in Shell(tmp_path, path).ours("doctor", "--json", code=1)
    assert migrate(path, None) == []
    conn = open_database(path)
    assert not sealed.is_plain_left(conn)
    assert free_pages.overwrite(conn, path) == []
    conn.close()


def test_an_upgrade_that_is_killed_before_it_has_overwritten_what_was_plain_does_so_the_next_time(
    tmp_path: Path,
) -> None:
    """All is sealed, and `doctor` reminds; a backup that is made meanwhile has nothing of it."""
    path, copies = tmp_path / "hooks.db", tmp_path / "copies"
    restore(6, path)
    leave_in_free_pages(path, TOKEN)
    assert subprocess.run([sys.executable, "-c", _KILLED, path], check=False).returncode == -9
    with closing(open_database(path)) as conn:
        assert (sealed.is_plain_left(conn), sealed.plain_values(conn), sealed.unopenable(conn)[1]) == (True, 0, {})
    shell = Shell(tmp_path, path)
    assert "may be left in the file's free space" in shell.ours("doctor", code=1)
    copies.mkdir()
    shell.ours("backup", str(copies / "copy.db"))
    assert found(tmp_path, TOKEN)
    assert found(copies, TOKEN) == []
    assert [file.name for file in copies.iterdir()] == ["copy.db"]
    shutil.copy(beside(path).path, beside(copies / "copy.db").path)
    with closing(open_database(copies / "copy.db")) as conn:
        assert (sealed.is_plain_left(conn), sealed.unopenable(conn)[1]) == (False, {})
    shell.ours("migrate")
    assert found(tmp_path, TOKEN) == []
    assert "may be left in the file's free space" not in shell.ours("doctor", code=1)


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
