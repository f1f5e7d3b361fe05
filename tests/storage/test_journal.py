"""The journal mode of what is served: a reader may stay as long as it likes, or somebody is told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from almirant_webhooks.model import Misconfigured, Refused
from almirant_webhooks.storage.sqlite import journal
from almirant_webhooks.storage.sqlite.connection import connect

from ..cli.test_doctor import findings
from ..conftest import Receiver
from ..support.service import Service
from ..support.shell import Shell

pytestmark = pytest.mark.sqlite


def put_a_copy_in_place(path: Path) -> None:
    """As a restore of what `VACUUM INTO` made: the same rows, in rollback-journal mode."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("VACUUM INTO ?", (str(copy),))
    for ending in ("", "-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    copy.rename(path)
    with closing(sqlite3.connect(path)) as conn:
        assert journal.mode(conn) == "delete"


@pytest.mark.parametrize("place", ["in the database", "in a file of its own"])
async def test_a_restored_copy_is_served_in_wal_mode(service: Service, receiver: Receiver, place: str) -> None:
    """The database and an outbox of ours: readers that stay stop neither producers nor deliveries."""
    service.outbox = service.database.with_name("outbox.db") if "own" in place else None
    service.migrate()
    service.webhook(receiver.url)
    files = {service.database, service.outbox_file}
    for path in files:
        put_a_copy_in_place(path)
    await service.start(migrating=False)
    readers = [sqlite3.connect(path, isolation_level=None) for path in files]
    for conn in readers:
        assert journal.mode(conn) == "wal"
        conn.execute("BEGIN")
        conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    unread = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"
    await service.until(lambda: service.ask(unread) == (0,))
    for conn in readers:
        conn.close()


def test_what_cannot_be_brought_to_wal_mode_is_said(tmp_path: Path) -> None:
    """Another program in the way, or a file system without shared memory (here: SQLite's own way to do without it)."""
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(connect(path)) as conn:
        other.execute("CREATE TABLE t (n)")
        other.execute("BEGIN")
        other.execute("SELECT * FROM t").fetchall()
        with pytest.raises(Refused, match=r"log\.db is in rollback-journal mode.*End that program and try again"):
            journal.bring_to_wal(conn, path, wait=0)
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?vfs=unix-dotfile", uri=True)) as conn,
        pytest.raises(Misconfigured, match=r"stays in delete mode.*file system of this machine"),
    ):
        journal.bring_to_wal(conn, path)


async def test_an_application_s_rollback_mode_is_told_and_left_alone(
    service: Service, receiver: Receiver, tmp_path: Path
) -> None:
    """By `serve` in its log and by `doctor`: what it costs, and what the application can do."""
    service.outbox = tmp_path / "shop.db"
    service.make_application("DELETE")
    with capture_logs() as lines:
        await service.start()
    assert "outbox in rollback-journal mode" in [line["event"] for line in lines]
    shell = Shell(tmp_path, database=service.database)
    shell.config.write_text(shell.config.read_text() + f'[outbox]\npath = "{service.outbox}"\n')
    result, words = findings(shell, 0)["outbox journal"]
    assert (result, "In the application set PRAGMA journal_mode=WAL" in words) == ("warning", True)
    with closing(service.producer()) as conn:
        assert journal.mode(conn) == "delete"
    await service.stop()
    with closing(service.producer()) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
    await service.start()
    assert "outbox journal" not in findings(shell, 0)
