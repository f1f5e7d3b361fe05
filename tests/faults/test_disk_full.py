"""A full disk: nothing is sent that cannot be recorded, it is said in words, and all goes on once there is room."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import sealed
from almirant_webhooks.storage.sqlite.connection import open_database

from ..conftest import Receiver
from ..storage.test_upgrade import restore
from ..support import needs
from ..support.secret_texts import TOKEN, found, leave_in_free_pages
from ..support.service import Service
from ..support.shell import Shell
from .process import COMMAND, whole

pytestmark = pytest.mark.sqlite

ROOM_AGAIN = 5.0  # seconds within which it goes on


class Disk:
    """A small file system of our own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave not one block."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def leave(self, size: int) -> None:
        """Leave so many bytes."""
        self.fill()
        os.truncate(self._filler, self._filler.stat().st_size - size)

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with needs.small_disk(tmp_path / "small", 24) as path:
        yield Disk(path)


@pytest.fixture
async def on_disk(disk: Disk) -> AsyncIterator[Service]:
    """A daemon whose database, with the outbox in it, is on the small disk."""
    there = Service(disk.path / "log.db")
    there.options["admin"] = {"listen": "127.0.0.1:0"}
    there.options["delivery"] = {"retry_schedule": ["0s"] + ["1s"] * 9}
    yield there
    await there.close()


def is_full(service: Service) -> bool:
    assert service.daemon is not None
    return "the disk is full" in (service.daemon.not_ready() or "")


async def until_ready(service: Service) -> None:
    begin = time.monotonic()
    await service.until(lambda: not is_full(service))
    assert time.monotonic() - begin < ROOM_AGAIN


async def test_idle(on_disk: Service, disk: Disk, receiver: Receiver) -> None:
    """/readyz says it in words; a producer's INSERT is refused, not swallowed; then all goes on."""
    daemon = await on_disk.start()
    on_disk.webhook(receiver.url)
    disk.fill()
    await on_disk.until(lambda: is_full(on_disk))
    assert daemon.address is not None
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{daemon.address[1]}/readyz") as response:
        assert response.status == 503
        assert "the disk is full" in (await response.json())["reason"]
    big = [{"text": "x" * 10_000} for _ in range(1000)]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        on_disk.insert(*big)
    disk.free()
    await until_ready(on_disk)
    on_disk.insert()
    await on_disk.until(lambda: len(on_disk.log(state="succeeded")) == 1)


async def test_while_fanning_out(tmp_path: Path, disk: Disk, receiver: Receiver) -> None:
    """The outbox has room and the database has none: the events wait in the outbox, and each arrives once."""
    service = Service(disk.path / "log.db", tmp_path / "outbox.db")
    await service.start()
    service.webhook(receiver.url)
    disk.fill()
    ids = service.insert(*({"n": number, "text": "x" * 1000} for number in range(300)))
    await service.until(lambda: is_full(service))
    assert receiver.requests == []
    disk.free()
    await until_ready(service)
    await service.until(lambda: len(service.log(state="succeeded", limit=5000)) == len(ids))
    assert len(receiver.requests) == len(ids)
    await service.close()


async def test_with_the_outbox_s_own_disk_full(tmp_path: Path, disk: Disk, receiver: Receiver) -> None:
    """What was taken goes on, as the database has room; what comes later is taken once the outbox has."""
    service = Service(tmp_path / "log.db", disk.path / "outbox.db")
    await service.start()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    disk.fill()
    await service.until(lambda: is_full(service))
    service.resend(service.log()[0]["delivery_id"])
    await service.until(lambda: service.log()[0]["attempts"] == 2)
    assert is_full(service)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        service.insert(*({"text": "x" * 10_000} for _ in range(1000)))
    disk.free()
    await until_ready(service)
    service.insert()
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    assert len(receiver.requests) == 3
    await service.close()


async def test_before_a_claim(on_disk: Service, disk: Disk, receiver: Receiver) -> None:
    """What becomes due meanwhile is not sent until there is room."""
    receiver.status = 500
    daemon = await on_disk.start()
    on_disk.webhook(receiver.url)
    on_disk.insert()
    await on_disk.until(lambda: on_disk.log(status="500") if receiver.requests else None)
    disk.fill()
    await on_disk.until(lambda: is_full(on_disk) and not daemon.loop.scheduler.in_flight.total())
    sent = len(receiver.requests)
    receiver.status = 200
    await on_disk.until(lambda: on_disk.log()[0]["next_attempt_at"] <= clock.text(clock.now()))
    looks, has_free_space = 0, daemon.loop._store.has_free_space

    def count() -> bool:
        nonlocal looks
        looks += 1
        return has_free_space()

    daemon.loop._store.has_free_space = count  # type: ignore[method-assign]
    await on_disk.until(lambda: looks >= 3)  # the first may have begun before it was due
    assert len(receiver.requests) == sent
    disk.free()
    await until_ready(on_disk)
    await on_disk.until(lambda: on_disk.log(state="succeeded"))


async def test_before_the_record(on_disk: Service, disk: Disk, receiver: Receiver) -> None:
    """Answers that came while nothing could be written are recorded as what they were; nobody is asked twice."""
    arrived, release = asyncio.Semaphore(0), asyncio.Event()

    async def slowly(_: web.Request) -> web.Response:
        arrived.release()
        await release.wait()
        return web.Response(body=b"x" * 8000)

    receiver.answer = slowly
    await on_disk.start()
    for _ in range(4):
        on_disk.webhook(receiver.url)
    on_disk.insert({}, {})
    for _ in range(8):
        await arrived.acquire()
    disk.fill()
    release.set()
    await on_disk.until(lambda: is_full(on_disk))
    disk.free()
    await until_ready(on_disk)
    await on_disk.until(lambda: len(on_disk.log(state="succeeded")) == 8)
    assert len(receiver.requests) == 8


async def test_at_a_checkpoint(on_disk: Service, disk: Disk, receiver: Receiver) -> None:
    """A stop on a full disk cannot move the WAL into the file: it stays, and nothing of it is lost."""
    await on_disk.start()
    on_disk.webhook(receiver.url)
    on_disk.insert(*({"text": "x" * 10_000} for _ in range(100)))
    await on_disk.until(lambda: len(on_disk.log(state="succeeded", limit=500)) == 100)
    disk.fill()
    await on_disk.stop()
    disk.free()
    assert whole(on_disk.database) == "ok"
    await on_disk.start()
    on_disk.insert()
    await on_disk.until(lambda: len(on_disk.log(state="succeeded", limit=500)) == 101)
    assert len(receiver.requests) == 101


def test_without_room_to_write_the_file_anew_an_upgrade_seals_and_says_what_is_left(tmp_path: Path, disk: Disk) -> None:
    """It ends well, `doctor` reminds, and `migrate` overwrites what is left once there is room."""
    path = disk.path / "hooks.db"
    restore(6, path)
    with closing(sqlite3.connect(path)) as conn:
        secrets = {row[0] for row in conn.execute("SELECT secret FROM webhooks WHERE secret != ''")}
        conn.execute("CREATE TABLE ballast AS SELECT randomblob(8000000) AS bytes")
        conn.commit()
    leave_in_free_pages(path, TOKEN)
    shell = Shell(tmp_path, path)
    disk.leave(3_000_000)

    def migrate() -> str:
        done = subprocess.run(
            [COMMAND, "migrate", "--config", shell.config], capture_output=True, text=True, check=True
        )
        return done.stderr

    said = migrate()
    assert "sealed with the key in" in said
    assert "there is no room to write the file anew" in said
    assert "Run `almirant-webhooks migrate` again" in said
    with closing(open_database(path)) as conn:
        assert (sealed.is_plain_left(conn), sealed.plain_values(conn), sealed.unopenable(conn)[1]) == (True, 0, {})
    assert "may be left in the file's free space" in shell.ours("doctor", code=1)
    assert secrets
    assert found(disk.path, TOKEN)
    disk.free()
    assert "there is no room" not in migrate()
    assert found(disk.path, TOKEN, *secrets) == []
    assert "may be left in the file's free space" not in shell.ours("doctor", code=1)
    assert whole(path) == "ok"
