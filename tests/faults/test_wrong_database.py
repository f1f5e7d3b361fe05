"""Beside an outbox stands a database that did not take its events: nothing is swallowed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from almirant_webhooks.model import Misconfigured
from almirant_webhooks.storage.sqlite.migrate import adopt_outbox

from ..conftest import Receiver
from ..support.service import Service

pytestmark = pytest.mark.sqlite


@pytest.fixture
def apart(service: Service) -> Service:
    """A service with its outbox in a file of its own."""
    service.outbox = service.database.with_name("outbox.db")
    return service


async def deliver(service: Service, receiver: Receiver, *numbers: int) -> None:
    """Start it, deliver events with these numbers, stop it."""
    await service.start()
    before = len(service.log(state="succeeded"))
    service.insert(*({"n": number} for number in numbers))
    await service.until(lambda: len(service.log(state="succeeded")) == before + len(numbers))
    await service.stop()


def keep(service: Service, name: str) -> Path:
    """Copy the database of a stopped daemon."""
    return Path(shutil.copy(service.database, service.database.with_name(name)))


def put_in_place(service: Service, copy: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        Path(f"{service.database}{ending}").unlink(missing_ok=True)
    shutil.copy(copy, service.database)


async def refused(service: Service, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        await service.start()
    service.daemon = None


def arrived(receiver: Receiver) -> Iterable[int]:
    return sorted(json.loads(request.body)["data"]["n"] for request in receiver.requests)


async def test_another_daemon_s_database_is_refused(apart: Service, receiver: Receiver) -> None:
    """Its own daemon may have taken more batches or fewer; after it was turned away the right one goes on."""
    apart.migrate()
    apart.webhook(receiver.url)
    await deliver(apart, receiver, 1)
    for batches in (0, 3):
        stranger = Service(apart.database.with_name(f"stranger-{batches}.db"))
        stranger.outbox = apart.database.with_name(f"strange-outbox-{batches}.db")
        stranger.migrate()
        stranger.webhook(receiver.url)
        for number in range(batches):
            await deliver(stranger, receiver, 100 + number)
        stranger.outbox = apart.outbox
        await refused(stranger, "Another database takes events from this outbox.*--adopt-outbox")
    await deliver(apart, receiver, 2)
    assert arrived(receiver) == [1, 2, 100, 101, 102]


async def test_a_restored_database_that_has_taken_all_is_served_and_loses_nothing(
    apart: Service, receiver: Receiver
) -> None:
    """Its last batch is the outbox's: nothing was taken since the backup, so what is unread waits for it."""
    apart.migrate()
    apart.webhook(receiver.url)
    await deliver(apart, receiver, 1)
    backup = keep(apart, "backup.db")
    apart.insert({"n": 2})
    put_in_place(apart, backup)
    await apart.start()
    await apart.until(lambda: len(apart.log(state="succeeded")) == 2)
    assert arrived(receiver) == [1, 2]


async def test_an_outbox_that_was_not_marked_for_a_batch_is_read_again(apart: Service, receiver: Receiver) -> None:
    """An older outbox beside a newer database, as after a crash between copy and mark: nothing is sent twice."""
    apart.migrate()
    apart.webhook(receiver.url)
    await deliver(apart, receiver, 1)
    assert apart.outbox is not None
    before = Path(shutil.copy(apart.outbox, apart.outbox.with_name("before.db")))
    for outbox in (before, apart.outbox):
        conn = Service(apart.database, outbox).producer()
        with conn:
            conn.execute(
                "INSERT INTO outbox (event_id, project_id, event_type, payload) VALUES ('e', 'proj_1', 'a.b', '{}')"
            )
        conn.close()
    await apart.start()
    await apart.until(lambda: len(apart.log(state="succeeded")) == 2)
    await apart.stop()
    shutil.copy(before, apart.outbox)
    await apart.start()
    unread = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"
    await apart.until(lambda: apart.ask(unread)[0] == 0)
    assert len(receiver.requests) == 2


async def test_a_database_that_was_left_for_a_restored_one_is_refused_when_it_comes_back(
    apart: Service, receiver: Receiver
) -> None:
    """Adopting gives the restored one an id of its own: the number of its batches alone would not tell them apart.

    What the restored one took meanwhile, the other has not seen.
    """
    apart.migrate()
    apart.webhook(receiver.url)
    await deliver(apart, receiver, 1)
    backup = keep(apart, "backup.db")
    for number in (2, 3, 4):
        await deliver(apart, receiver, number)
    left = keep(apart, "left.db")
    put_in_place(apart, backup)
    await refused(apart, "restored from a backup")
    adopt_outbox(apart.database, apart.outbox, None)
    await deliver(apart, receiver, 5)
    put_in_place(apart, left)
    await refused(apart, "Another database takes events")
    put_in_place(apart, backup)
    await refused(apart, "Another database takes events")
    assert arrived(receiver) == [1, 2, 3, 4, 5]
