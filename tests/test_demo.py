"""The demo as a newcomer runs it: a process of its own, with nothing prepared."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from almirant_webhooks.rules.event_types import CATALOGUE

COMMAND = str(Path(sys.executable).parent / "almirant-webhooks")


def _demo(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "demo", "--once", *words], capture_output=True, text=True, cwd=cwd, timeout=110)


@pytest.mark.long
def test_the_demo_delivers_everything_and_its_sums_add_up(tmp_path: Path) -> None:
    """Exit 0; the numbers that it prints are those of the log that it leaves behind."""
    folder = tmp_path / "a demo's place"
    done = _demo("--directory", folder.name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    conn = sqlite3.connect(folder / "demo.db")
    events, deliveries, delivered, attempts, retried = conn.execute(
        "SELECT (SELECT count(*) FROM outbox), count(*), sum(state = 'succeeded'), sum(attempts), sum(attempts > 1) "
        "FROM delivery_log"
    ).fetchone()
    types = {row[0] for row in conn.execute("SELECT event_type FROM delivery_log WHERE status = '200'")}
    conn.close()
    assert types == set(CATALOGUE)
    assert re.search(r"^Pages      http://127\.0\.0\.1:\d+/portal/\S+$", done.stdout, re.MULTILINE)
    assert (events, deliveries, delivered, retried) == (9, 13, 13, 4)
    for line in (
        f"Events in            {events} of 9, one of each type",
        f"Deliveries           {deliveries}, delivered {delivered}, of them retried {retried}",
        f"Attempts             {attempts} = {deliveries} first ones + {attempts - deliveries} retries",
        f"Signatures verified  {attempts} of {attempts}, the customer's way and as Standard Webhooks",
        "Everything was delivered.",
    ):
        assert line in done.stdout.splitlines()
    assert re.search(r"Schedule .*shortened for the demo", done.stdout)
    _follow(done.stdout.partition("Look further:\n")[2], tmp_path)


def _follow(printed: str, cwd: Path) -> None:
    """Run each command that the demo names, as it stands."""
    lines = printed.strip().splitlines()
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line)
        if words[0] == "sqlite3":
            conn = sqlite3.connect(words[1])
            assert conn.execute(words[2]).fetchall()
            conn.close()
        else:
            done = subprocess.run(words, capture_output=True, text=True, cwd=cwd)
            assert (done.returncode, bool(done.stdout)) == (0, True), (line, done.stderr)


@pytest.mark.long
def test_a_directory_with_an_earlier_demo_is_refused(tmp_path: Path) -> None:
    """Exit 1 with a sentence; the earlier demo's log stays as it is."""
    (tmp_path / "demo.db").write_bytes(b"kept")
    done = _demo("--directory", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "holds an earlier demo" in done.stderr
    assert (tmp_path / "demo.db").read_bytes() == b"kept"
