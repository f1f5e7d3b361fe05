"""Files as they are made and named: their rights under any umask, links that lead nowhere, and tables of others."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from almirant_webhooks.storage.sqlite import lock
from almirant_webhooks.storage.sqlite.migrate import migrate, outbox_sql

from ..faults.process import COMMAND
from ..support.service import Service
from ..support.shell import Shell


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o777])
async def test_every_file_has_the_rights_that_were_meant_whatever_the_umask(
    service: Service, tmp_path: Path, umask: int
) -> None:
    """Nobody else can hold the lock or read the keys, and whoever made them can."""
    before = os.umask(umask)
    try:
        service.options["admin"] = {"listen": "127.0.0.1:0"}
        service.outbox = tmp_path / "outbox.db"
        migrate(service.database, service.outbox)
        await service.start()
        Shell(tmp_path, database=service.database).ours("backup", str(tmp_path / "copy.db"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        await service.stop()
    finally:
        os.umask(before)
    del modes["config.toml"]
    assert modes == {
        "hooks.db": 0o640, "hooks.db-wal": 0o640, "hooks.db-shm": 0o640, "hooks.db.lock": 0o640, "hooks.db.keys": 0o600,
        "hooks.db.seal": 0o600,
        "outbox.db": 0o660, "outbox.db-wal": 0o660, "outbox.db-shm": 0o660, "copy.db": 0o600,
    }  # fmt: skip


def test_a_lock_that_everybody_may_hold_is_mended(tmp_path: Path) -> None:
    """As an earlier release left it under an umask of 0."""
    path = tmp_path / "hooks.db.lock"
    path.touch()
    path.chmod(0o666)
    with lock.hold(tmp_path / "hooks.db"):
        assert lock.is_held(tmp_path / "hooks.db")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not lock.is_held(tmp_path / "hooks.db")


@pytest.mark.parametrize("name", ["log.db", "outbox.db"])
@pytest.mark.parametrize("target", ["gone/file.db", "missing.db", "to itself"])
def test_a_link_that_leads_to_no_file_is_named_with_where_it_leads(tmp_path: Path, name: str, target: str) -> None:
    """To another place, or to itself: as the database and as the outbox, by every command."""
    there = tmp_path / (name if target == "to itself" else target)
    (tmp_path / name).symlink_to(there)
    shell = Shell(tmp_path)
    shell.config.write_text(shell.config.read_text() + f'[outbox]\npath = "{tmp_path / "outbox.db"}"\n')
    words = f"{tmp_path / name} is a link to {there}, where there is no file"
    for command in (("serve", "--migrate"), ("migrate",), ("stats",), ("doctor",), ("check-config",)):
        assert words in shell.ours(*command, code=78)


@pytest.mark.long
def test_a_configuration_is_right_only_if_the_daemon_would_start_with_it(shell: Shell) -> None:
    """A file of certificates that is none, places where no file can be: the key, where it came from, and why."""
    good = shell.config.read_text()
    key, text = shell.folder / "key.pem", shell.folder / "notes.txt"
    key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    text.write_text("not a certificate")
    printed = subprocess.run([COMMAND, "check-config", "--config", str(shell.config)], capture_output=True, check=True)
    assert b"The configuration is right." in printed.stderr
    for broken in (key, text):
        shell.config.write_text(good.replace("[egress]", f'[egress]\nca_file = "{broken}"'))
        for command in ("check-config", "serve"):
            words = shell.ours(command, code=78)
            assert f"egress.ca_file (from {shell.config}): {broken} cannot be used" in words
    for place, why in ((shell.folder / "none" / "o.db", "does not exist"), (shell.folder, "is a directory")):
        shell.config.write_text(f'{good}[outbox]\npath = "{place}"\n')
        words = shell.ours("check-config", code=78)
        assert f"outbox.path (from {shell.config}): " in words
        assert why in words


OTHERS = {
    "a table named outbox": "CREATE TABLE outbox (id INTEGER PRIMARY KEY, mail TEXT)",
    "a table named Outbox": "CREATE TABLE Outbox (id INTEGER PRIMARY KEY, mail TEXT)",
    "a view named outbox": "CREATE TABLE mails (id); CREATE VIEW outbox AS SELECT * FROM mails",
    "both names": "CREATE TABLE outbox (id); CREATE TABLE outbox_meta (key, value)",
    "ours, and a foreign outbox_meta": f"{outbox_sql()}; DROP TABLE outbox_meta; CREATE TABLE outbox_meta (key, value)",
}


@pytest.mark.long
@pytest.mark.parametrize("script", OTHERS.values(), ids=OTHERS)
def test_an_application_s_own_table_of_that_name_is_told_as_what_it_is(shell: Shell, script: str) -> None:
    """By `migrate`, `serve` and `event send`: another file, or another name; nothing of it is changed, nothing restored."""
    path = shell.folder / "shop.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(script)
        before = list(conn.iterdump())
    shell.config.write_text(shell.config.read_text() + f'[outbox]\npath = "{path}"\n')
    send = ("event", "send", "--project", "p", "--type", "a.b", "--data", "{}")
    for command in (("migrate",), ("serve",), ("serve", "--migrate"), send):
        printed = shell.ours(*command, code=78)
        assert f"{path} has something of another program that is named outbox" in printed
        assert "Put the outbox into another file (outbox.path)" in printed
        assert "backup" not in printed
    with closing(sqlite3.connect(path)) as conn:
        assert list(conn.iterdump()) == before
