"""An upgrade seals what was plain before, and nothing of it is left in the file or in a copy."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from almirant_webhooks.ops.sealing import beside
from almirant_webhooks.storage.sql import sealed
from almirant_webhooks.storage.sqlite import free_pages
from almirant_webhooks.storage.sqlite.connection import open_database
from almirant_webhooks.storage.sqlite.migrate import migrate

from ..support.secret_texts import TOKEN, found, leave_in_free_pages
from ..support.shell import Shell
from .test_upgrade import VERSIONS, restore

_KILLED = """
import os, sys
from pathlib import Path
from almirant_webhooks.storage.sqlite import free_pages, migrate
free_pages.overwrite = lambda conn, path: os.kill(os.getpid(), 9)
migrate.migrate(Path(sys.argv[1]), None)
"""


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
