"""SQLite as older systems have it: what it is too old for is refused in words, and on the oldest one all works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from almirant_webhooks.cli.root import COMMANDS
from almirant_webhooks.storage.sqlite import library as loaded
from almirant_webhooks.storage.sqlite.migrate import outbox_sql

from ..faults.process import COMMAND
from ..support import older

pytestmark = [pytest.mark.long, pytest.mark.sqlite]

OLDEST, TOO_OLD = "3.37.0", "3.36.0"
# What touches SQL in its many ways; the whole suite passes too, and takes minutes.
SLICE = [f"tests/{name}.py" for name in (
    "cli/test_cli", "cli/test_doctor", "delivery/test_commits", "docs/test_producers", "storage/test_resends",
    "storage/test_outbox_upgrade", "storage/test_rotation", "storage/test_search", "storage/test_semantics", "storage/test_unread",
    "storage/test_upgrade", "test_daemon", "upkeep/test_retention", "web/test_api",
)]  # fmt: skip


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Where libraries are kept from one run to the next: pytest's own directory, which nobody else can write to."""
    of_this_run = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    return of_this_run.parent


@pytest.fixture(scope="session")
def oldest(builds: Path) -> Path:
    """The oldest release that this program runs on."""
    return older.library(OLDEST, builds)


# Runs commands one after the other in one process: twenty new ones would take half a minute.
_EACH = """
import contextlib, io, json, sys
from almirant_webhooks.cli import main
for name in sys.argv[1:]:
    sys.argv = ["almirant-webhooks", name]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
    print(json.dumps([name, code, said.getvalue()]))
"""


def refusals(library: Path, *commands: str) -> dict[str, tuple[int, str]]:
    """Run commands with a library; return of each its exit code and what it said."""
    words = [sys.executable, "-c", _EACH, *commands]
    ran = subprocess.run(words, env=older.preloaded(library), capture_output=True, text=True, timeout=300, check=True)
    return {name: (code, said) for name, code, said in map(json.loads, ran.stdout.splitlines())}


def test_every_command_refuses_a_library_that_is_too_old(builds: Path, tmp_path: Path) -> None:
    """With exit 78, both versions and what to do; no file is made, and none is called damaged."""
    ran = refusals(older.library(TOO_OLD, builds), *COMMANDS)
    assert list(ran) == list(COMMANDS)
    for name, (code, said) in ran.items():
        assert code == 78, (name, said)
        assert re.search(r"SQLite 3\.36\.0 is too old: 3\.37 or newer is needed.*Install a newer libsqlite3", said), (
            said
        )
        assert "Traceback" not in said
    folder = tmp_path / "demo"
    words = [COMMAND, "demo", "--once", "--directory", str(folder)]
    assert subprocess.run(words, env=older.preloaded(older.library(TOO_OLD, builds)), check=False).returncode == 78
    assert not folder.exists()


def test_a_library_without_json_is_refused(builds: Path) -> None:
    """Before 3.38 SQLite's JSON functions were left out unless they were asked for."""
    code, said = refusals(older.library(OLDEST, builds, with_json=False), "migrate")["migrate"]
    assert (code, "SQLite 3.37.0 was built without its JSON functions" in said) == (78, True), said


@pytest.mark.slow
def test_the_demo_runs_on_the_oldest_library(oldest: Path, tmp_path: Path) -> None:
    """From the INSERT to the log, with retries; and it is that library that it ran on."""
    words = [COMMAND, "demo", "--once", "--directory", str(tmp_path / "demo")]
    ran = subprocess.run(words, env=older.preloaded(oldest), capture_output=True, text=True, timeout=500, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    version = [sys.executable, "-c", "import sqlite3; print(sqlite3.sqlite_version)"]
    printed = subprocess.run(version, env=older.preloaded(oldest), capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == OLDEST == ".".join(map(str, loaded.OLDEST))


def test_the_oldest_library_takes_every_time_to_the_millisecond(oldest: Path, tmp_path: Path) -> None:
    """Releases before 3.38 read one in a hundred a millisecond too early where they add days to it: it was refused."""
    script = tmp_path / "insert.py"
    script.write_text(
        "import sqlite3, sys\n"
        "conn = sqlite3.connect(':memory:'); conn.executescript(sys.stdin.read())\n"
        "for second in (1, 59):\n"
        "    for number in range(1000):\n"
        "        conn.execute(\"INSERT INTO outbox (project_id, event_type, payload, occurred_at) VALUES ('p', 'a.b', '{}', ?)\",\n"
        "                     (f'2026-11-23T09:00:{second:02d}.{number:03d}Z',))\n"
        "print(conn.execute('SELECT count(*) FROM outbox').fetchone()[0])\n"
    )
    ran = subprocess.run(
        [sys.executable, script],
        input=outbox_sql(),
        env=older.preloaded(oldest),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("2000\n", "")


@pytest.mark.slow
def test_the_suite_passes_on_the_oldest_library(oldest: Path, tmp_path: Path) -> None:
    """Its part that touches SQL. The sqlite3 shell is left out: it runs with the library that it was built with alone."""
    own_folder = f"--basetemp={tmp_path / 'nested'}"
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        own_folder,
        *SLICE,
        "-k",
        "not sqlite3_shell",
    ]
    ran = subprocess.run(words, env=older.preloaded(oldest), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-6000:]
