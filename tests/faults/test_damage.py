"""Files that are damaged, missing, not ours or not for us: a sentence and exit 78, and nothing that was committed is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from almirant_webhooks.ops import guard

from ..conftest import Receiver
from ..support.service import Service
from .process import DaemonProcess

pytestmark = pytest.mark.sqlite

PAGE = 4096
ENDS_WITHIN = 20.0  # seconds, on a busy machine
NOTICED_WITHIN = 5.0  # seconds, that a file was deleted or replaced


def overwrite_pages(path: Path) -> None:
    """Every page but the first: the header is whole, the tables are not."""
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // PAGE):
            file.seek(page * PAGE)
            file.write(b"\xff" * 64)


def flip_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not SQLite")


def newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA user_version=999")


def drop(table: str) -> Callable[[Path], None]:
    def dropped(path: Path) -> None:
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("PRAGMA foreign_keys=OFF")
            conn.execute(f"DROP TABLE {table}")

    return dropped


def stopped(service: Service) -> str:
    """Run a daemon that cannot start; return what it said, which is a sentence with exit 78."""
    daemon = DaemonProcess(service)
    daemon.start()
    try:
        while (code := daemon.died()) is None:
            time.sleep(0.01)
    finally:
        daemon.close()
    log_text = daemon.log.read_text()
    assert code == 78, log_text
    assert "Traceback" not in log_text
    return log_text


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (overwrite_pages, "damaged"),
        (flip_header, "is not an SQLite database"),
        (newer_version, "newer release"),
        (drop("deliveries"), "not those of this release"),
        (drop("attempts"), "not those of this release"),
        (drop("database_meta"), "not those of this release"),
        (drop("outbox"), "one is there without the other"),
    ],
)
async def test_a_damaged_database_is_not_served(
    service: Service, receiver: Receiver, damage: Callable[[Path], None], words: str
) -> None:
    """The sentence says what is wrong; a backup put in its place is served."""
    await service.start()
    service.webhook(receiver.url)
    await service.stop()
    backup = service.database.with_name("backup.db")
    shutil.copy(service.database, backup)
    damage(service.database)
    assert words in stopped(service)
    for ending in ("-wal", "-shm"):
        service.database.with_name(service.database.name + ending).unlink(missing_ok=True)
    shutil.copy(backup, service.database)
    await service.start()
    service.insert()
    await service.until(lambda: receiver.requests)


@pytest.mark.parametrize("fault", ["damaged", "deleted", "replaced", "table dropped"])
async def test_damage_while_it_runs_ends_the_daemon(service: Service, receiver: Receiver, fault: str) -> None:
    """Rather than try for ever; whoever inserts meanwhile into a file that is still whole finds the event sent later."""
    service.migrate()
    service.webhook(receiver.url)
    daemon = DaemonProcess(service)
    daemon.start()
    try:
        service.insert()
        await service.until(lambda: receiver.requests)
        await service.until(lambda: service.log(state="succeeded"))
        aside = service.database.with_name("aside.db")
        if fault == "damaged":
            # Beyond the page cache: what it has not read yet.
            with closing(sqlite3.connect(service.database)) as conn:
                conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                conn.execute("PRAGMA writable_schema=ON")
                conn.execute(
                    "UPDATE sqlite_schema SET rootpage = 9999 WHERE name IN ('outbox', 'deliveries', 'events')"
                )
                version = conn.execute("PRAGMA schema_version").fetchone()[0]
                conn.execute(f"PRAGMA schema_version={version + 1}")
                conn.commit()
        elif fault == "table dropped":
            drop("deliveries")(service.database)
        else:
            service.database.rename(aside)
            if fault == "replaced":
                shutil.copy(aside, service.database)
        if fault == "table dropped":
            service.insert()
        await service.until(lambda: daemon.died() is not None, within=ENDS_WITHIN)
        assert daemon.died() == 78
        log_text = daemon.log.read_text()
        assert "Traceback" not in log_text
        assert guard.EVERY < NOTICED_WITHIN
        assert {"deleted": "deleted or replaced", "replaced": "deleted or replaced"}.get(
            fault, "Restore it"
        ) in log_text
    finally:
        daemon.close()


async def test_a_second_daemon_ends_at_once_by_whichever_link_it_came(service: Service, tmp_path: Path) -> None:
    """A link to the file, and a link to its directory; the first goes on."""
    await service.start()
    (tmp_path / "link.db").symlink_to(service.database)
    other = tmp_path / "other"
    other.symlink_to(service.database.parent)
    for path in (tmp_path / "link.db", other / service.database.name):
        second = DaemonProcess(Service(path))
        second.start()
        while second.died() is None:
            await asyncio.sleep(0.01)
        assert second.died() == 1
        assert "Another daemon" in second.log.read_text()
    daemon = service.daemon
    assert daemon is not None
    await service.until(lambda: daemon.not_ready() is None)


@pytest.mark.parametrize("where", ["database", "outbox"])
async def test_a_file_with_a_second_name_is_not_served(service: Service, tmp_path: Path, where: str) -> None:
    """By each name SQLite writes a WAL of its own: a second daemon would get past the lock, and damage the file."""
    service.outbox = tmp_path / "outbox.db"
    await service.start()
    other = tmp_path / "other.db"
    os.link(service.database if where == "database" else service.outbox, other)
    second = Service(other, service.outbox)
    if where == "outbox":
        second = Service(tmp_path / "second.db")
        second.migrate()
        second.outbox = other
    log_text = stopped(second)
    assert f"{other} has another name (a hard link)" in log_text
    assert f"find {tmp_path} -xdev -samefile {other}" in log_text
    other.unlink()
    await service.stop()
    await service.start()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_stop_ends_in_time_whatever_receivers_do(tmp_path: Path, receiver: Receiver, times: int) -> None:
    """With receivers that hang and a full queue: out within the time limit and two seconds, at a second signal at once."""
    service = Service(tmp_path / "hooks.db")
    service.options["delivery"] = {"timeout": "2s" if times == 1 else "60s"}
    service.migrate()

    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    receiver.answer = hang  # type: ignore[assignment]
    for number in range(20):
        service.webhook(f"{receiver.url}/{number}")
    service.insert(*({"n": number} for number in range(100)))
    daemon = DaemonProcess(service)
    daemon.start()
    try:
        await service.until(lambda: len(receiver.requests) >= 20 and len(service.log(limit=5000)) == 20 * 100)
        for _ in range(times):
            os.kill(daemon.pid, signal.SIGTERM)
            await service.until(lambda: "stopping" in daemon.log.read_text())
        await service.until(lambda: daemon.died() is not None, within=30)
        assert daemon.died() == 0, daemon.log.read_text()[-2000:]
    finally:
        daemon.close()
    rows = service.log(limit=5000)
    assert {row["state"] for row in rows} == {"pending"}
    unfinished = service.read(
        lambda conn: conn.execute("SELECT count(*) FROM deliveries WHERE next_attempt_at IS NULL").fetchone()[0]
    )
    assert unfinished == 0
