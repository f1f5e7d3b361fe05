"""What an operator asks at night: how does it stand, what is wrong, and why did nothing arrive."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime
from importlib import import_module
from pathlib import Path

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks

from ..conftest import Receiver
from ..support.service import Service
from ..support.shell import Shell

doctor = import_module("almirant_webhooks.cli.doctor")


def findings(there: Shell, code: int) -> dict[str, tuple[str, str]]:
    printed = there.ours("doctor", "--json", code=code)
    found, _ = json.JSONDecoder().raw_decode(printed)
    return {one["check"]: (one["result"], one["words"]) for one in found}


async def test_a_healthy_service_is_told_so_and_counted(
    service: Service, receiver: Receiver, tmp_path: Path, engine_name: str
) -> None:
    """Exit 0, and `stats` on one screen."""
    await service.start()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    there = service.shell(tmp_path)
    found = findings(there, 0)
    assert {result for result, _ in found.values()} <= {"ok", "warning"}
    own = (
        {"database file", "SQLite", "daemon", "database lock", "WAL"}
        if engine_name == "sqlite"
        else {"PostgreSQL", "daemons"}
    )
    assert {"configuration", "clock", "DNS"} | own <= set(found)
    assert found["clock"][0] == "ok"
    numbers = json.loads(there.ours("stats", "--json"))
    assert numbers["last_hour"]["succeeded"] == 1
    assert numbers["daemon"]["running"] is True
    assert numbers["deliveries"] == {"due": 0, "scheduled": 0, "held": 0, "oldest_due_seconds": 0.0, "rate_limited": 0}
    assert len(there.ours("stats").splitlines()) < 24


@pytest.mark.long
@pytest.mark.sqlite
def test_what_is_wrong_is_named_with_what_to_do(shell: Shell) -> None:
    """A daemon that does not run, a file that all can read, a writer that does not end and its process."""
    path = shell.folder / "log.db"
    path.chmod(0o644)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    found = findings(shell, 1)
    holder.close()
    assert found["daemon"] == ("wrong", "It does not run on this database: systemctl start almirant-webhooks")
    assert found["database file"][0] == "wrong"
    assert "chmod 0640" in found["database file"][1]
    assert "held open" in found["database lock"][1]
    path.unlink()
    assert "migrate" in findings(shell, 1)["database file"][1]


def test_a_backlog_a_failing_webhook_and_a_wrong_clock_are_seen(service: Service) -> None:
    """From the rows alone, with the daemon stopped."""
    service.migrate()
    shell = service.shell()
    made = json.loads(
        shell.ours("webhook", "create", "--project", "p", "--url", "https://a.invalid", "--event", "*", "--json")
    )
    conn = service.producer()
    conn.execute(
        "UPDATE webhooks SET failing_since = '2026-01-01T00:00:00.000Z', failing_noticed_at = '2026-01-01T01:00:00.000Z'"
    )
    conn.execute(
        "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) VALUES (1, 'e', 'p', 'lead.created', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', '{}')"
    )
    conn.execute(
        "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, next_attempt_at, created_at, last_number, attempts, last_status) VALUES ('dlv_1', 1, 'e', ?, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', 1, 1, '500')",
        (made["id"],),
    )
    now = clock.now()
    for at in (now - timedelta(days=2), now):
        conn.execute("DELETE FROM attempts")
        conn.execute(
            "INSERT INTO attempts (delivery_id, number, trigger, started_at, outcome, status_code, cause, url, request_headers, response_headers) VALUES ('dlv_1', 1, 'scheduled', ?, 'http_error', 500, 'the receiver answered 500', '', '[]', ?)",
            (clock.text(at), json.dumps([["Date", format_datetime(at + timedelta(hours=1), usegmt=True)]])),
        )
        conn.commit()
        if at is not now:
            assert findings(shell, 1)["clock"][0] == "ok"
    conn.close()
    found = findings(shell, 1)
    assert found["backlog"][0] == "warning"
    assert made["id"] in found["failing webhook"][1]
    assert found["clock"][0] == "wrong"
    assert re.fullmatch(r"It is 3(600|599) s behind receivers' clocks; set it \(timedatectl\).", found["clock"][1])
    assert "a.invalid" in found["DNS"][1]
    assert json.loads(shell.ours("stats", "--json"))["webhooks"] == {"enabled": 1, "disabled": 0, "failing": 1}


@pytest.mark.sqlite
def test_damage_and_the_age_of_copies_are_seen(shell: Shell) -> None:
    """A copy by the command is written down; a large database is looked through when asked to."""
    found = findings(shell, 1)
    assert found["integrity"] == ("ok", "The database is whole.")
    assert found["backup"][0] == "warning"
    assert found["producers"][0] == "ok"
    shell.ours("backup", "copy.db")
    assert findings(shell, 1)["backup"][0] == "ok"
    conn = sqlite3.connect(shell.folder / "log.db")
    assert conn.execute("SELECT count(*) FROM outbox").fetchone()[0] == 0
    conn.execute("UPDATE audit SET at = '2026-01-01T00:00:00.000Z'")
    conn.execute("CREATE TRIGGER refuse BEFORE INSERT ON outbox BEGIN SELECT raise(ABORT, 'not today'); END")
    conn.execute("PRAGMA writable_schema = ON")
    conn.execute("UPDATE sqlite_schema SET sql = replace(sql, 'actor TEXT', 'actor INTEGER') WHERE name = 'audit'")
    conn.commit()
    conn.close()
    found = findings(shell, 1)
    assert "timer" in found["backup"][1]
    assert found["producers"] == ("wrong", "An INSERT into the outbox fails: not today.")
    assert found["integrity"][0] == "wrong"
    assert "restore a backup" in found["integrity"][1]


@pytest.mark.sqlite
def test_a_large_database_is_looked_through_when_asked_to(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take minutes each time."""
    monkeypatch.setattr(doctor, "CHECKED", 0)
    assert "doctor --deep" in findings(shell, 1)["integrity"][1]
    found, _ = json.JSONDecoder().raw_decode(shell.ours("doctor", "--deep", "--json", code=1))
    assert [one["words"] for one in found if one["check"] == "integrity"] == ["The database is whole."]


@pytest.mark.long
@pytest.mark.sqlite
def test_little_room_and_a_long_wal_are_seen_with_the_reader_that_keeps_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its process: what has been reading at every look."""
    monkeypatch.setattr(doctor, "LITTLE_ROOM", 2**62)
    monkeypatch.setattr(doctor, "LONG_WAL", -1)
    with _other(shell, "BEGIN", "SELECT count(*) FROM webhooks") as reader:
        found = findings(shell, 1)
    assert found["disk"][0] == "warning"
    assert "shorten the keys of retention" in found["disk"][1]
    assert found["WAL"][0] == "warning"
    assert f"read all the time: {reader} (python" in found["WAL"][1]


@pytest.mark.long
@pytest.mark.sqlite
def test_the_process_that_holds_a_transaction_is_named(shell: Shell) -> None:
    """And not others that have the file open as well."""
    with _other(shell, "SELECT 1") as idle, _other(shell, "BEGIN IMMEDIATE") as writer:
        found = findings(shell, 1)
    for name in ("database lock", "outbox lock"):
        assert found[name][0] == "wrong"
        assert f"by {writer} (python" in found[name][1]
        assert str(idle) not in found[name][1]


@pytest.mark.sqlite
def test_an_outbox_that_producers_cannot_write_is_seen(shell: Shell) -> None:
    """A file of the group's directory that has lost the group's right."""
    folder = shell.folder / "outbox"
    folder.mkdir()
    folder.chmod(0o2770)
    shell.config.write_text(shell.config.read_text() + f'[outbox]\npath = "{folder / "outbox.db"}"\n')
    shell.ours("migrate")
    assert findings(shell, 1)["outbox file"][0] == "ok"
    (folder / "outbox.db").chmod(0o640)
    assert "chmod 0660" in findings(shell, 1)["outbox file"][1]


@contextmanager
def _other(shell: Shell, *statements: str) -> Iterator[int]:
    """Run statements in another process, which then waits with its transaction open; yields its id."""
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    program += "for one in sys.argv[2:]: c.execute(one).fetchall()\nprint('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(shell.folder / "log.db"), *statements]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.stdin.close()
    process.stdout.close()
    process.wait()


async def test_an_event_tells_why_nothing_arrived(service: Service, receiver: Receiver, tmp_path: Path) -> None:
    """A verdict for each webhook of the project, for unmatched events, and for rows that were never taken."""
    service.options["delivery"] = {"retry_schedule": ["0s", "1h"]}
    await service.start()
    good, other = service.webhook(receiver.url), service.webhook(receiver.url, "lead.*")
    held = service.webhook(receiver.url)
    service.write(webhooks.disable, held.id, clock.now())
    bad = service.webhook("http://127.0.0.1:9/in")
    (event,) = service.insert()
    (lonely,) = service.insert(project="nobody")
    (rejected,) = service.insert(project="almirant")
    await service.until(lambda: len(service.log(event_id=event)) == 3 and service.log(webhook_id=bad.id)[0]["attempts"])
    await service.until(lambda: service.log(webhook_id=good.id, state="succeeded"))
    service.webhook(receiver.url, project="nobody")
    late = service.webhook(receiver.url)
    there = service.shell(tmp_path)
    shown = json.loads(there.ours("event", "show", event, "--json"))
    verdicts = {one["webhook_id"]: one["verdict"] for one in shown["outcomes"]}
    assert "It arrived; attempt 1" in verdicts[good.id]
    assert "does not subscribe" in verdicts[other.id]
    assert "It is held, since the webhook is disabled" in verdicts[held.id]
    assert "connection refused" in verdicts[bad.id]
    assert "next attempt is due" in verdicts[bad.id]
    assert "created after the event" in verdicts[late.id]
    assert "Unmatched" in there.ours("event", "show", lonely)
    assert "rejected: project_id almirant is reserved" in there.ours("event", "show", rejected, code=1)
    assert "was not inserted" in there.ours("event", "show", "evt_none", code=1)
    await service.stop()
    (waiting,) = service.insert()
    assert "Does the daemon run?" in there.ours("event", "show", waiting, code=1)
