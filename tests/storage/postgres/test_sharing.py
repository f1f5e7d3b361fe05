"""Several daemons on one database: each project is one daemon's at a time (contract, section 6, *PostgreSQL*)."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.delivery.due_loader import RELOAD_EVERY
from almirant_webhooks.rules.buckets import BUCKETS, bucket_of
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.storage.postgres import share
from almirant_webhooks.storage.postgres.connection import transaction
from almirant_webhooks.storage.postgres.database_session import WRITERS, DatabaseSession, open_database
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.postgres.lease import Lease, Superseded
from almirant_webhooks.storage.postgres.once import DoneElsewhere
from almirant_webhooks.storage.postgres.share import Share, ShareChanged
from almirant_webhooks.storage.postgres.stores import PostgresDeliveryStore

from ...conftest import Receiver
from ...support.daemons import Daemons, project_in
from ...support.postgres_service import shell_of_all

TAKEN = "almirant_webhooks_events_taken_total"
HALF = BUCKETS // 2


class Gate:
    """Lets a receiver answer only once it is open."""

    def __init__(self, receiver: Receiver) -> None:
        self._is_open = asyncio.Event()
        receiver.answer = self._answer

    def open(self) -> None:
        self._is_open.set()

    async def _answer(self, _: web.Request) -> web.StreamResponse:
        await self._is_open.wait()
        return web.Response()


def taken_by(service: Daemons) -> float | None:
    """How many events a daemon has taken."""
    assert service.daemon is not None
    return service.daemon.metrics.registry.get_sample_value(TAKEN)


def times_sent(receiver: Receiver) -> Counter[str]:
    return Counter(request.headers["X-Almirant-Delivery"] for request in receiver.requests)


async def test_two_daemons_have_half_of_the_projects_each_and_both_deliver(
    first: Daemons, second: Daemons, receiver: Receiver
) -> None:
    """What an event's project belongs to takes it, and nobody else."""
    await first.start(migrating=False)
    await first.until_shared(BUCKETS)
    await second.start(migrating=False)
    projects = [project_in(buckets) for buckets in await first.until_shared(HALF, HALF)]
    for project, count in zip(projects, (1, 2), strict=True):
        first.webhook(receiver.url, project=project)
        for _ in range(count):
            first.send(project)
    await first.until(lambda: first.states() == [("succeeded", 1)] * 3)
    assert (taken_by(first), taken_by(second)) == (1, 2)


async def test_rows_of_buckets_that_somebody_deleted_are_put_back(
    first: Daemons, receiver: Receiver, tmp_path: Path
) -> None:
    """No daemon can take those buckets: `doctor` says so, `migrate` puts them back, and a daemon that had one reads it anew."""
    first.webhook(receiver.url)
    first.there.ask("DELETE FROM buckets WHERE number % 2 = 0")
    await first.start(migrating=False)
    await first.until_shared(HALF)
    first.there.ask("DELETE FROM buckets")
    shell = shell_of_all(first, tmp_path)
    assert "64 of 64 rows of the table buckets were deleted" in await asyncio.to_thread(shell.ours, "doctor", code=1)
    await asyncio.to_thread(shell.ours, "migrate")
    await first.until_shared(BUCKETS)
    first.insert()
    await first.until(lambda: first.states() == [("succeeded", 1)])
    assert "the table buckets" not in await asyncio.to_thread(shell.ours, "doctor")


async def test_a_daemon_that_joins_gets_a_project_once_nothing_is_in_flight_there(
    first: Daemons, second: Daemons, receiver: Receiver
) -> None:
    """So nothing is sent twice for it, and a webhook never has more requests at a time than it may."""
    gate = Gate(receiver)
    await first.start(migrating=False)
    await first.until_shared(BUCKETS)
    busy = set(range(0, BUCKETS, 4))
    for bucket in busy:
        first.webhook(receiver.url, project=project_in([bucket]))
        first.send(project_in([bucket]))
    await first.until(lambda: len(receiver.requests) == len(busy))
    await second.start(migrating=False)
    await first.until(lambda: len(first.shares()) == 2)
    await first.until(lambda: first.ask("SELECT count(*) FROM buckets WHERE daemon_id IS NULL") == (0,))
    _, moved = first.shares().values()
    assert not busy & moved
    gate.open()
    await first.until_shared(HALF, HALF)
    await first.until(lambda: first.states() == [("succeeded", 1)] * len(busy))
    assert set(times_sent(receiver).values()) == {1}


async def test_a_daemon_that_stops_gives_what_it_has_when_its_requests_have_ended(
    first: Daemons, second: Daemons, receiver: Receiver
) -> None:
    """The others go on at once, and nothing is sent twice."""
    await first.start(migrating=False)
    await first.until_shared(BUCKETS)
    await second.start(migrating=False)
    _, of_second = await first.until_shared(HALF, HALF)
    project = project_in(of_second)
    first.webhook(receiver.url, project=project)
    gate = Gate(receiver)
    first.send(project)
    await first.until(lambda: len(receiver.requests) == 1)
    stopping = asyncio.create_task(second.stop())
    await first.until_shared(1, BUCKETS - 1)
    first.send(project)
    gate.open()
    await stopping
    await first.until(lambda: first.states() == [("succeeded", 1)] * 2)
    await first.until_shared(BUCKETS)
    assert set(times_sent(receiver).values()) == {1}
    assert taken_by(first) == 1


async def test_a_daemon_that_is_gone_is_taken_over(first: Daemons, receiver: Receiver) -> None:
    """What it had in flight is shown as interrupted and sent again; an ordered webhook waits until its last request is over."""
    first.options["delivery"] = {"timeout": "1s"}
    webhook = first.webhook(receiver.url, project="p")
    ordered = first.webhook(receiver.url + "/ordered", project="p", ordered=True)
    gate = Gate(receiver)
    killed = await first.another()
    first.send("p")
    await first.until(lambda: len(receiver.requests) == 2)
    killed.kill()
    await killed.wait()
    gate.open()
    await first.start(migrating=False)
    await first.until(lambda: first.states() == [("succeeded", 2)] * 2)
    attempts = first.there.ask(
        "SELECT webhook_id, number, outcome FROM attempts a JOIN deliveries d ON d.id = a.delivery_id ORDER BY 1, 2"
    )
    outcomes = ((1, "interrupted"), (2, "success"))
    assert attempts == sorted((hook.id, *outcome) for hook in (webhook, ordered) for outcome in outcomes)
    (wait,) = first.ask(
        "SELECT min(a.started_at) >= min(b.ordered_from) FROM buckets b, attempts a JOIN deliveries d ON d.id = a.delivery_id "
        f"WHERE a.number = 2 AND d.webhook_id = '{ordered.id}' AND b.number = {bucket_of('p')}"
    )
    assert wait


@pytest.mark.slow
async def test_a_daemon_that_was_frozen_within_a_transaction_is_taken_over(first: Daemons, receiver: Receiver) -> None:
    """Its session is ended, which has the lock that whoever takes its projects waits for."""
    first.there.ask(
        "INSERT INTO daemons (id, name, request_seconds, seen_at) VALUES ('dmn_gone', 'gone', 3, now() - interval '1 minute')"
    )
    first.there.ask("UPDATE buckets SET daemon_id = 'dmn_gone'")
    first.webhook(receiver.url)
    first.commit()
    with first.there.connect(application_name="almirant-webhooks dmn_gone") as frozen:
        frozen.execute("SELECT pg_advisory_xact_lock(%s)", [WRITERS])
        await first.start(migrating=False)
        await first.until(lambda: first.states() == [("succeeded", 1)])
        with pytest.raises(psycopg.OperationalError):
            frozen.execute("SELECT 1")
        frozen.close()


async def test_what_is_done_once_reaches_the_projects_of_all_daemons(
    first: Daemons, second: Daemons, receiver: Receiver, tmp_path: Path
) -> None:
    """Many resends are begun by one daemon, and each sends those of its own projects, without waiting for its next reading."""
    await first.start(migrating=False)
    await first.until_shared(BUCKETS)
    await second.start(migrating=False)
    for buckets in await first.until_shared(HALF, HALF):
        first.webhook(receiver.url, project=project_in(buckets))
        first.send(project_in(buckets))
    await first.until(lambda: first.states() == [("succeeded", 1)] * 2)
    shell_of_all(first, tmp_path).ours("delivery", "resend", "--state", "succeeded", "--yes")
    await first.until(lambda: first.states() == [("succeeded", 2)] * 2, within=RELOAD_EVERY.total_seconds() / 2)


async def test_the_daemon_that_owns_the_first_bucket_alone_does_what_is_done_once(
    first: Daemons, second: Daemons
) -> None:
    """A write of another one is refused."""
    daemon = await first.start(migrating=False)
    await first.until_shared(BUCKETS)
    other = await second.start(migrating=False)
    await first.until_shared(HALF, HALF)
    services = [service.storage for service in (daemon, other)]
    assert sum(service.rests() is None for service in services) == 1
    for service in services:
        if service.rests() is None:
            await service.upkeep.write(lambda session: None)
        else:
            with pytest.raises(DoneElsewhere):
                await service.upkeep.write(lambda session: None)


def test_ordered_webhooks_that_have_to_wait_are_read_a_few_at_a_time(
    first: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the projects that were taken over, and no others; each statement looks at so many webhooks by their key."""
    monkeypatch.setattr(share, "STEP", 2)
    taken, other = project_in([7]), project_in([8])
    hooks = [
        first.webhook("http://127.0.0.1:9/", project=project, ordered=ordered)
        for project in (taken, other)
        for ordered in (True, None, True, None)
    ]
    first.there.ask("UPDATE buckets SET ordered_from = now() + interval '1 hour' WHERE number = 7")
    lease, wishes = Lease(first.there.place, 10.0), threading.Semaphore(0)
    owner = Share(lease)
    lease.start(wishes.release)
    with closing(open_database(first.there.place, first.seals)) as session:
        owner.settle(session, Schedule((timedelta(0),)), clock.now())
        wishes.acquire()
        held = owner.settle(session, Schedule((timedelta(0),)), clock.now())
        with transaction(session):
            plan = [line for (line,) in session.run("EXPLAIN " + share._ORDERED, [7], "", share.STEP)]
    lease.close()
    assert held is not None
    assert set(held) == {hook.id for hook in hooks if hook.ordered and hook.project_id == taken}
    scans = [line for line in plan if "Scan" in line and "Subquery" not in line]
    assert len(scans) == 1
    assert "Index Scan using webhooks_pkey" in scans[0]
    assert any("Limit" in line for line in plan)


def write(session: DatabaseSession, lease: Lease, owner: Share) -> None:
    """Make an empty transaction of the delivery loop's."""
    with PostgresDeliveryStore(Inside(keep=False, share=owner), lease, owner).transaction(session):
        pass


def test_each_transaction_looks_whether_its_daemon_owns_what_it_takes_for_its_own(first: Daemons) -> None:
    """One that has lost a bucket reads what it owns again; one that was taken for gone ends."""
    lease, wishes = Lease(first.there.place, 10.0), threading.Semaphore(0)
    owner = Share(lease)
    lease.start(wishes.release)
    with closing(open_database(first.there.place, first.seals)) as session:
        assert owner.settle(session, Schedule((timedelta(0),)), clock.now()) is None
        wishes.acquire()
        assert owner.settle(session, Schedule((timedelta(0),)), clock.now()) is not None
        write(session, lease, owner)
        first.there.ask("UPDATE buckets SET daemon_id = NULL WHERE number = 7")
        with pytest.raises(ShareChanged):
            write(session, lease, owner)
        assert owner.settle(session, Schedule((timedelta(0),)), clock.now()) is not None
        write(session, lease, owner)
        first.there.ask("DELETE FROM daemons")
        with pytest.raises(Superseded, match="taken this one for gone"):
            write(session, lease, owner)
    lease.close()


@pytest.mark.slow
async def test_a_daemon_that_was_frozen_for_longer_than_its_lease_writes_nothing_when_it_wakes_up(
    first: Daemons, receiver: Receiver
) -> None:
    """Its late answers are refused, and it ends with a sentence."""
    first.webhook(receiver.url, project="p")
    gate = Gate(receiver)
    frozen = await first.another()
    first.send("p")
    await first.until(lambda: len(receiver.requests) == 1)
    frozen.send_signal(signal.SIGSTOP)
    gate.open()
    await first.start(migrating=False)
    await first.until(lambda: first.states() == [("succeeded", 2)])
    frozen.send_signal(signal.SIGCONT)
    assert await frozen.wait() == 1
    assert "taken this one for gone" in first.said.read_text()
    assert first.there.ask("SELECT outcome FROM attempts ORDER BY number") == [("interrupted",), ("success",)]
    assert len(first.shares()) == 1


def test_the_database_and_the_daemons_find_the_same_bucket(first: Daemons) -> None:
    """Whatever a project's id is made of."""
    names = [
        "p",
        "proj_1",
        "a" * 128,
        "\\",
        "\\\\x41",
        "\\x41",
        "\\101",
        "'",
        '"',
        "%s",
        "~!@#$%^&*()",
        *map(chr, range(33, 127)),
    ]
    found = first.there.ask("SELECT almirant_webhooks.outbox_bucket(name) FROM unnest(%s::text[]) name", names)
    assert [bucket for (bucket,) in found] == [bucket_of(name) for name in names]
