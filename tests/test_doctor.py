"""What an operator asks at night: how does it stand, what is wrong, and why did nothing arrive."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from almirant_webhooks import clock
from almirant_webhooks.db import webhooks

from .conftest import Receiver
from .service import Service
from .shell import Shell


def findings(there: Shell, code: int) -> dict[str, tuple[str, str]]:
    printed = there.ours("doctor", "--json", code=code)
    found, _ = json.JSONDecoder().raw_decode(printed)
    return {one["check"]: (one["result"], one["words"]) for one in found}


async def test_a_healthy_service_is_told_so_and_counted(service: Service, receiver: Receiver, tmp_path: Path) -> None:
    """Exit 0, and `stats` on one screen."""
    await service.start()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    there = Shell(tmp_path, database=service.database)
    found = findings(there, 0)
    assert {result for result, _ in found.values()} <= {"ok", "warning"}
    assert {"configuration", "database file", "SQLite", "daemon", "database lock", "WAL", "clock", "DNS"} <= set(found)
    assert found["clock"][0] == "ok"
    numbers = json.loads(there.ours("stats", "--json"))
    assert numbers["last_hour"]["succeeded"] == 1
    assert numbers["daemon"]["running"] is True
    assert numbers["deliveries"] == {"due": 0, "scheduled": 0, "held": 0, "oldest_due_seconds": 0.0}
    assert len(there.ours("stats").splitlines()) < 24


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


def test_a_backlog_a_failing_webhook_and_a_wrong_clock_are_seen(shell: Shell) -> None:
    """From the rows alone, with the daemon stopped."""
    made = json.loads(
        shell.ours("webhook", "create", "--project", "p", "--url", "https://a.invalid", "--event", "*", "--json")
    )
    conn = sqlite3.connect(shell.folder / "log.db")
    conn.execute(
        "UPDATE webhooks SET failing_since = '2026-01-01T00:00:00.000Z', failing_noticed_at = '2026-01-01T01:00:00.000Z'"
    )
    conn.execute(
        "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) VALUES (1, 'e', 'p', 'lead.created', '', '2026-01-01T00:00:00.000Z', '{}')"
    )
    conn.execute(
        "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, next_attempt_at, created_at, last_number, attempts, last_status) VALUES ('dlv_1', 1, 'e', ?, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', 1, 1, '500')",
        (made["id"],),
    )
    conn.execute(
        "INSERT INTO attempts (delivery_id, number, trigger, started_at, outcome, status_code, cause, url, request_headers, response_headers) VALUES ('dlv_1', 1, 'scheduled', '2026-01-01T00:00:00.000Z', 'http_error', 500, 'the receiver answered 500', '', '[]', '[[\"Date\", \"Thu, 01 Jan 2026 01:00:00 GMT\"]]')"
    )
    conn.commit()
    conn.close()
    found = findings(shell, 1)
    assert found["backlog"][0] == "warning"
    assert made["id"] in found["failing webhook"][1]
    assert found["clock"] == ("wrong", "It is 3600 s behind receivers' clocks; set it (timedatectl).")
    assert "a.invalid" in found["DNS"][1]
    assert json.loads(shell.ours("stats", "--json"))["webhooks"] == {"enabled": 1, "disabled": 0, "failing": 1}


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
    there = Shell(tmp_path, database=service.database)
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
