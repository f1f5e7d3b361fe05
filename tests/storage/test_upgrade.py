"""A database of every earlier schema is brought to this one with all that it holds, however often it is killed on the way."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import resend_steps, resends, sealed
from almirant_webhooks.storage.sqlite import migrate as migrations
from almirant_webhooks.storage.sqlite import outbox
from almirant_webhooks.storage.sqlite.connection import SCHEMA_VERSION, open_database
from almirant_webhooks.storage.sqlite.migrate import migrate

from ..conftest import Receiver
from ..support.service import Service

pytestmark = pytest.mark.sqlite

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = range(1, SCHEMA_VERSION)

# Runs a migration that ends, as by kill -9, before its nth statement; 0 is all of it.
_KILLED = """
import os, sqlite3, sys
from pathlib import Path
from almirant_webhooks.storage.sqlite import migrate
left = int(sys.argv[2])
run = migrate._run
class Counting:
    def __init__(self, conn): self.conn = conn
    def execute(self, statement, *values):
        global left
        left -= 1
        if left == 0: os.kill(os.getpid(), 9)
        return self.conn.execute(statement, *values)
migrate._run = lambda conn, script: run(Counting(conn), script)
migrate.migrate(Path(sys.argv[1]), None)
"""


def restore(version: int, path: Path) -> None:
    """Make a database of an earlier schema from its dump, a crash's open attempt in it."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA auto_vacuum=INCREMENTAL")
        conn.execute("PRAGMA journal_mode=WAL")
        conn.executescript((FIXTURES / f"schema-{version}.sql").read_text())


def contents(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    with closing(sqlite3.connect(path)) as conn:
        conn.row_factory = sqlite3.Row
        tables = [row[0] for row in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {table: [dict(row) for row in conn.execute(f"SELECT * FROM {table}")] for table in tables}


def test_every_earlier_schema_has_a_fixture() -> None:
    """Made with the release that had it, by `sqlite3 FILE .dump` and its two numbers in the header."""
    assert {path.name for path in FIXTURES.glob("schema-*.sql")} == {f"schema-{version}.sql" for version in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upgrade_keeps_every_row(version: int, tmp_path: Path) -> None:
    """With every value that it had, in the columns that were there."""
    path = tmp_path / "hooks.db"
    restore(version, path)
    before = contents(path)
    assert all(before.values()), "a table of the fixture is empty"
    assert migrate(path, None)
    after = contents(path)
    # An attempt in flight had a row until schema 6; since then it stands in its delivery.
    open_attempts = [row for row in before["attempts"] if row["outcome"] is None]
    assert bool(open_attempts) is (version < 6)
    before["attempts"] = [row for row in before["attempts"] if row["outcome"] is not None]
    in_flight = {row["id"]: row for row in after["deliveries"] if row["in_flight"]}
    for row in open_attempts:
        delivery = in_flight.pop(row["delivery_id"])
        assert (delivery["begun"], delivery["started_at"]) == (row["number"], row["started_at"])
        assert delivery["manual"] == (row["trigger"] == "manual")
        assert json.loads(delivery["sent"]) == [row["url"], row["request_headers"]]
    assert bool(in_flight) is (version >= 6)
    conn = open_database(path)
    for row in after["webhooks"]:  # sealed since schema 7
        assert not row["secret"] or row["secret"].startswith("sealed:")
        for field in ("secret", "next_secret"):
            row[field] = sealed.open_or_none(conn, row["id"], field, row[field])
    conn.close()
    before["outbox_meta"][0]["schema_version"] = outbox.SCHEMA_VERSION  # the outbox's own number
    for table, rows in before.items():
        assert [{name: row[name] for name in old} for old, row in zip(rows, after[table], strict=True)] == rows, table
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        assert plain.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert migrate(path, None) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_attempts_that_failed_before_are_counted_by_their_status(version: int, tmp_path: Path) -> None:
    """By the hour, as what is recorded from now on is in the end."""
    path = tmp_path / "hooks.db"
    restore(version, path)
    migrate(path, None)
    rows = contents(path)
    failed = [row for row in rows["attempts"] if row["outcome"] not in ("success", "interrupted")]
    assert failed
    assert sum(row["attempts"] for row in rows["webhook_failures"]) == len(failed)
    hours = {(row["webhook_id"], row["hour"]): row["failed"] for row in rows["webhook_hours"] if row["failed"]}
    by_status: dict[tuple[str, str], int] = {}
    for row in rows["webhook_failures"]:
        place = row["webhook_id"], row["hour"]
        by_status[place] = by_status.get(place, 0) + row["attempts"]
    assert by_status.items() <= hours.items()


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_daemon_goes_on_from_an_earlier_schema(version: int, tmp_path: Path, receiver: Receiver) -> None:
    """What was pending or in flight is delivered with the bytes that were fixed then; what is held waits."""
    service = Service(tmp_path / "hooks.db")
    restore(version, service.database)
    service.migrate()
    before = {row["delivery_id"]: row for row in service.log(limit=100)}
    pending = {one for one, row in before.items() if row["state"] == "pending" and not row["held"]}
    assert pending
    assert any(row["held"] for row in before.values())
    with closing(sqlite3.connect(service.database)) as conn, conn:
        conn.execute("UPDATE webhooks SET url = ? WHERE deleted_at IS NULL", (receiver.url,))
    await service.start()
    await service.until(lambda: pending <= {row["delivery_id"] for row in service.log(state="succeeded", limit=100)})
    sent = {request.headers["X-Almirant-Delivery"]: request.body.decode() for request in receiver.requests}
    assert sent == {one: service.detail(one)["body"] for one in pending}
    for one in before.keys() - pending:
        assert service.log(event_id=before[one]["event_id"], webhook_id=before[one]["webhook_id"]) == [
            before[one] | {"url": receiver.url}
        ]
    await service.close()


@pytest.mark.long
@pytest.mark.parametrize(
    "version", [*(pytest.param(each, marks=pytest.mark.slow) for each in (0, *VERSIONS[:-1])), VERSIONS[-1]]
)
def test_a_migration_that_is_killed_has_changed_nothing(version: int, tmp_path: Path) -> None:
    """Before whichever statement; the next one brings it all the way."""
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    at = 1
    while True:
        path = tmp_path / f"{at}.db"
        if version:
            restore(version, path)
        before = contents(path) if version else None
        ended = subprocess.run([sys.executable, script, path, str(at)], check=False).returncode
        if ended == 0:
            break
        assert ended == -9
        if before is not None:
            assert contents(path) == before
        assert migrate(path, None)
        with closing(sqlite3.connect(path)) as conn:
            assert conn.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
            assert conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        path.unlink()
        at += 7
    assert at > 7


def test_an_application_s_outbox_gets_the_rules_of_a_new_one_and_keeps_its_triggers(tmp_path: Path) -> None:
    """While the application has the file open, which sees the new rules with its next statement."""
    path = tmp_path / "shop.db"
    time = "INSERT INTO outbox (project_id, event_type, payload, occurred_at) VALUES ('p', 'a.b', '{}', ?)"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        conn.executescript(migrations._script("outbox_migrations", 1))
        conn.execute("CREATE TRIGGER orders_too AFTER INSERT ON outbox BEGIN INSERT INTO orders VALUES (NULL); END")
        conn.execute(time, ("2026-11-23T09:00:00.000Z",))
        assert migrate(tmp_path / "hooks.db", path)
        conn.execute(time, ("2026-11-23T09:00:00.001Z",))
        with pytest.raises(sqlite3.IntegrityError, match="occurred_at must be a UTC time"):
            conn.execute(time, ("2026-02-30T09:00:00.000Z",))
        assert conn.execute("SELECT (SELECT count(*) FROM outbox), count(*) FROM orders").fetchone() == (2, 2)
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'outbox%' ORDER BY name"
        upgraded = conn.execute(tables).fetchall()
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(migrations.outbox_sql())
        assert conn.execute(tables).fetchall() == upgraded
    assert migrate(tmp_path / "hooks.db", path) == []


def test_a_resend_that_was_under_way_goes_on_after_the_upgrade(tmp_path: Path) -> None:
    """What waits of it is waited for; one that had no part left is over, and one that was finished stays so."""
    path = tmp_path / "hooks.db"
    restore(4, path)
    with closing(sqlite3.connect(path)) as conn, conn:
        webhook, delivery = conn.execute(
            "SELECT webhook_id, id FROM deliveries WHERE state = 'failed' LIMIT 1"
        ).fetchone()
        conn.executemany(
            "INSERT INTO resends (id, actor, filters, created_at) VALUES (?, 'operator', ?, '2026-11-22T00:00:00.000Z')",
            [("rsd_waits", "{}"), ("rsd_gone", '{"state": "failed"}')],
        )
        conn.execute("INSERT INTO resend_webhooks VALUES ('rsd_waits', ?, 2, 2, '', 1)", (webhook,))
        asked = "UPDATE deliveries SET resend_id = 'rsd_waits', resend_requested_at = '2026-11-22T00:00:00.000Z' WHERE id = ?"
        conn.execute(asked, (delivery,))
    migrate(path, None)
    with closing(open_database(path)) as conn:
        states = {row["id"]: (row["state"], row["matched"]) for row in resends.find(conn)}
        assert (states["rsd_waits"], states["rsd_gone"][0]) == (("running", 2), "finished")
        assert states["rsd_24c5bb87767768d42307"] == ("cancelled", 2)
        now = clock.parse("2026-11-23T00:00:00.000Z")
        assert resend_steps.step(conn, now).finished == []
        conn.execute("UPDATE deliveries SET resend_requested_at = NULL")
        assert resend_steps.step(conn, now).finished == ["rsd_waits"]
        assert not resend_steps.under_way(conn)
