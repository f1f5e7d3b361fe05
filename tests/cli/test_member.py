"""What a member of the service's group, who may read the database and not write beside it, gets from the commands."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from almirant_webhooks.cli import main
from almirant_webhooks.cli.root import root
from almirant_webhooks.model import Refused
from almirant_webhooks.storage.sqlite import idle

from ..support import needs
from ..support.shell import Shell

pytestmark = pytest.mark.sqlite

OWNER, GROUP, MEMBER = 61_001, 61_002, 61_003


@pytest.fixture
def folder() -> Iterator[Path]:
    """The directory of state as it is installed: its owner's and its group's."""
    needs.root("to be another user")
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    state = made / "state"
    state.mkdir()
    there = Shell(state)
    there.ours("migrate")
    there.ours("webhook", "create", "--project", "p", "--url", "https://example.com/in", "--event", "*")
    for path in (state, *state.iterdir()):
        os.chown(path, OWNER, GROUP)
    state.chmod(0o750)
    there.config.chmod(0o644)
    yield state
    shutil.rmtree(made)


def as_member(do: Callable[[], None]) -> tuple[int, str]:
    """Do something in a process of a member of the group; return its exit code, and what it printed."""
    for name in root.list_commands(None):  # type: ignore[arg-type]
        root.get_command(None, name)  # type: ignore[arg-type]
    read, write = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.dup2(write, 1)
            os.dup2(write, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os.setgroups([])
            os.setresgid(GROUP, GROUP, GROUP)
            os.setresuid(MEMBER, MEMBER, MEMBER)
            do()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as printed:
        text = printed.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Run a command as a member."""

    def do() -> None:
        os.chdir("/")
        sys.argv = ["almirant-webhooks", *words, "--config", str(folder / "config.toml")]
        main()

    return as_member(do)


@pytest.mark.long
def test_a_member_reads_the_log_while_the_daemon_is_stopped(folder: Path) -> None:
    """By each command that only reads; nothing is left beside the database."""
    before = {path.name for path in folder.iterdir()}
    for words in (
        ("webhook", "list"),
        ("delivery", "list"),
        ("event", "list"),
        ("event", "list", "--rejected"),
        ("audit",),
        ("stats",),
    ):
        code, text = run(folder, *words)
        assert code == 0, (words, text)
    assert "example.com" in run(folder, "webhook", "list")[1]
    code, text = run(folder, "doctor")
    assert "this user cannot write" in text
    assert "Traceback" not in text
    code, text = run(folder, "webhook", "create", "--project", "p", "--url", "https://example.com", "--event", "*")
    assert (code, "Run the command as" in text) == (78, True)
    assert {path.name for path in folder.iterdir()} == before


def test_what_a_crash_left_in_the_wal_is_not_passed_over(folder: Path) -> None:
    """Read while SQLite's own file of shared memory is there; without it a sentence, not an older log."""
    change = f"c = sqlite3.connect({str(folder / 'log.db')!r}); c.execute(\"UPDATE webhooks SET description = 'new'\"); c.commit()"
    subprocess.run([sys.executable, "-c", f"import os, sqlite3; {change}; os._exit(1)"], check=False)
    for ending in ("-wal", "-shm"):
        os.chown(folder / f"log.db{ending}", OWNER, GROUP)
    code, text = run(folder, "webhook", "list", "--json")
    assert (code, '"description": "new"' in text) == (0, True), text
    (folder / "log.db-shm").unlink()
    code, text = run(folder, "webhook", "list")
    assert (code, "left by a crash" in text) == (1, True), text


def test_a_database_that_is_written_meanwhile_is_not_shown(folder: Path) -> None:
    """Whoever wrote to it: what was read may be half of before and half of after."""
    path = folder / "log.db"
    with pytest.raises(Refused, match="Run the command again"), idle.reading(path) as conn:  # noqa: PT012
        assert conn.execute("SELECT count(*) FROM webhooks").fetchone()[0] == 1
        other = sqlite3.connect(path)
        other.execute("UPDATE webhooks SET enabled = 0, disabled_at = updated_at")
        other.commit()
        other.close()  # the last close brings it into the file
    with idle.reading(path) as conn:
        assert conn.execute("SELECT enabled FROM webhooks").fetchone()[0] == 0


def test_stats_say_what_they_could_not_look_at(folder: Path) -> None:
    """An outbox in a directory of the producers' is not the members' to read."""
    closed = folder.parent / "outbox"
    closed.mkdir(mode=0o700)
    config = folder / "config.toml"
    config.write_text(config.read_text() + f'[outbox]\npath = "{closed / "outbox.db"}"\n')
    code, text = run(folder, "stats")
    assert code == 0, text
    assert "note: the outbox was not looked at" in text
    assert "deliveries  due 0" in text
