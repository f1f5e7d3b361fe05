"""A server whose log of changes has no room on its disk ends: that is said, nothing is lost, and all goes on once it is there again."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from ..conftest import Receiver
from ..support import needs
from ..support.postgres import NOBODY, Server, new_database
from ..support.postgres_service import PostgresService
from .postgres_flow import EACH, Producer, each_came_once, hooks, kind, until_it_says, until_ready
from .test_disk_full import Disk

__all__ = ["kind"]  # a fixture

pytestmark = pytest.mark.slow

WRITE = "INSERT INTO changes SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 30000)"  # a megabyte


def move_log_of_changes(server: Server, path: Path) -> None:
    """Let a server have it on another file system."""
    server.stop()
    here = server.folder / "data" / "pg_wal"
    subprocess.run(["cp", "--archive", here, path], check=True)
    shutil.rmtree(here)
    here.symlink_to(server.named(path / "pg_wal"))
    server.start()


def write_until_it_ends(service: PostgresService) -> None:
    """Have an application write until the server has no room for another megabyte."""
    with suppress(psycopg.OperationalError), service.there.connect(autocommit=True) as shop:
        while True:
            shop.execute(WRITE)


@pytest.fixture
async def apart(tmp_path: Path, kind: type[PostgresService]) -> AsyncIterator[tuple[PostgresService, Disk]]:
    """A database of a server whose log of changes is on a small disk; its tables are not."""
    server = Server()
    try:
        with needs.small_disk(server.folder / "small", 48) as path:
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
            move_log_of_changes(server, path)
            service = kind.within(tmp_path, new_database(with_outbox=False, its_server=server))
            yield service, Disk(path)
            await service.close()
            server.stop()
    finally:
        server.remove()


@EACH
async def test_a_server_without_room_for_its_log_of_changes_loses_nothing(
    apart: tuple[PostgresService, Disk], receiver: Receiver
) -> None:
    """It ends, and can begin again only with room: `/readyz` and `doctor` say that it is away, and events flow from then on."""
    service, disk = apart
    server = service.there.server
    await service.start()
    hooks(service, receiver)
    service.there.ask("CREATE TABLE changes (text text)")
    with Producer(service.there, 120) as producer:
        await service.until(partial(producer.has_committed, 40))
        await asyncio.to_thread(disk.fill)
        await asyncio.to_thread(write_until_it_ends, service)
        await service.until(server.has_ended)
        await until_it_says(service, "the connection to PostgreSQL was lost, or could not be made")
        said = await asyncio.to_thread(service.shell().ours, "doctor", code=1)
        assert "PostgreSQL cannot be reached" in said
        assert "No space left on device" in (server.folder / "log").read_text()
        disk.free()
        await asyncio.to_thread(server.start)
        await service.until(producer.is_done)
    await each_came_once(service, receiver, producer.ids)
    await until_ready(service)
