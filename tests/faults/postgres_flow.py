"""Events that flow through an outbox in PostgreSQL beside some trouble, and what has to hold afterwards."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress

import psycopg
import pytest

from ..conftest import Receiver
from ..support.daemons import ThreeDaemons
from ..support.postgres import Outbox
from ..support.postgres_service import EverythingInPostgres, PostgresService

_KINDS = {"the outbox": PostgresService, "everything": EverythingInPostgres, "three daemons": ThreeDaemons}
EACH = pytest.mark.parametrize("kind", _KINDS.values(), ids=_KINDS)
EVERYTHING = pytest.mark.parametrize("kind", [EverythingInPostgres], ids=["everything"])
PROJECTS = 12
ONCE = """
INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (%s, 'work_item.created', '{}', %s)
ON CONFLICT (project_id, event_id) DO NOTHING
"""
OURS = "starts_with(application_name, 'almirant-webhooks') AND datname = current_database()"
END_ALL = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"


@pytest.fixture
def kind() -> type[PostgresService]:
    """What is in PostgreSQL: the outbox alone, unless a test says `EACH`."""
    return PostgresService


class Producer:
    """Commits events from a thread of its own, one after the other; one whose COMMIT was not answered is tried again."""

    def __init__(self, outbox: Outbox, count: int) -> None:
        self._outbox = outbox
        self.ids = [f"event-{number}" for number in range(count)]
        self.committed = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Producer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def has_committed(self, count: int) -> bool:
        return self.committed >= count

    def is_done(self) -> bool:
        return self.has_committed(len(self.ids))

    def _run(self) -> None:
        while not (self._is_over or self.is_done()):
            with suppress(psycopg.OperationalError), self._outbox.connect(autocommit=True) as conn:
                while not (self._is_over or self.is_done()):
                    event_id = self.ids[self.committed]
                    conn.execute(ONCE, [f"proj_{self.committed % PROJECTS}", event_id])
                    self.committed += 1


def hooks(service: PostgresService, receiver: Receiver) -> None:
    """Have a webhook in each project of a `Producer`."""
    for number in range(PROJECTS):
        service.webhook(receiver.url, project=f"proj_{number}")


async def each_came_once(service: PostgresService, receiver: Receiver, ids: list[str], within: float = 120) -> None:
    """Wait until all is marked and delivered, and hold that nothing came twice."""
    await service.until(lambda: service.is_marked() and len(receiver.requests) >= len(ids), within)
    await service.until(lambda: len(service.log(state="succeeded", limit=10_000)) >= len(ids), within)
    log = service.log(limit=10_000)
    assert Counter(event["event_id"] for event in log) == Counter(ids)
    assert len(receiver.requests) == sum(event["attempts"] for event in log) == len(ids)
    assert service.ask("SELECT count(*) FROM outbox WHERE rejected_reason IS NOT NULL") == (0,)


async def until_sent(service: PostgresService, receiver: Receiver, count: int, within: float = 60) -> None:
    await service.until(lambda: len(receiver.requests) >= count, within)


async def until_it_says(service: PostgresService, words: str) -> None:
    """Wait until `/readyz` of each daemon has these words."""
    assert service.running()
    await service.until(lambda: all(words in (daemon.not_ready() or "") for daemon in service.running()))


async def until_ready(service: PostgresService, within: float = 60) -> None:
    """Wait until each daemon is well, and several share the work."""
    await service.until(service.is_well, within)
