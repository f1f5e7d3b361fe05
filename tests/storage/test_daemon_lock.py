"""The lock of a database in a file: who looks at it keeps nobody from starting, and it says which keys its daemon has read."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.model import Refused
from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import beside
from almirant_webhooks.storage.sqlite import lock
from almirant_webhooks.storage.sqlite.connection import open_database, transaction
from almirant_webhooks.storage.sqlite.service import SqliteService

from ..support.service import Service

pytestmark = pytest.mark.sqlite

CREATE = ("webhook", "create", "--project", "p", "--url", "https://example.com/in", "--event", "*")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database whose lock nobody holds."""
    path = tmp_path / "hooks.db"
    with lock.hold(path):
        pass
    return path


def test_a_command_that_looks_whether_a_daemon_is_there_keeps_none_from_starting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the lock for a moment: it goes away just after the daemon was refused."""
    true, look = fcntl.flock, lock.file_of(path).open()
    true(look, fcntl.LOCK_SH)

    def flock(file: Any, how: int) -> None:
        try:
            true(file, how)
        except BlockingIOError:
            look.close()
            raise

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.hold(path):
        assert look.closed
        assert lock.is_held(path)


def test_another_daemon_is_refused(path: Path) -> None:
    with lock.hold(path), pytest.raises(Refused, match="one database has one daemon"), lock.hold(path):
        pass


async def test_a_daemon_says_which_keys_it_has_read_before_it_does_anything_else(service: Service) -> None:
    """A command at the wrong moment would seal with one that it has not read, for a credential of before."""
    service.migrate()
    async with AsyncExitStack() as closing_them:
        await SqliteService(service.database, None, lambda *_: None, closing_them).open()
        assert lock.key_ids(service.database) == list(beside(service.database).ids())


async def test_a_command_that_waited_for_others_seals_with_the_key_that_the_daemon_has_read_by_then(
    service: Service,
) -> None:
    service.migrate()
    (old,) = beside(service.database).ids()
    line = sealed_texts.new_line()
    service.key.write_text(service.key.read_text() + line)
    opened = service.database.resolve()

    def opens() -> int:
        files = Path("/proc/self/fd")
        return sum(os.path.realpath(files / name) == str(opened) for name in os.listdir(files))

    with lock.hold(service.database) as held, closing(open_database(service.database)) as conn, transaction(conn):
        held.tell((old,))
        before = opens()
        command = asyncio.create_task(asyncio.to_thread(service.shell().ours, *CREATE))
        await service.until(lambda: opens() > before)
        held.tell((old, line.split()[0]))
    await command
    ((secret,),) = service.execute("SELECT secret FROM webhooks")
    assert sealed_texts.key_id_of(secret) == line.split()[0]
