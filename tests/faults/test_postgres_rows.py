"""Rows of an outbox in PostgreSQL that are easily missed: late commits, no NOTIFY, and what a long snapshot keeps in the way."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..conftest import Receiver
from ..support.pooler import pooled
from ..support.postgres import new_database
from ..support.postgres_service import INSERT, PostgresService, shell_of
from . import postgres_bugs as bugs
from .postgres_flow import until_sent

pytestmark = pytest.mark.slow

MANY = """
INSERT INTO outbox (project_id, event_type, payload)
SELECT 'proj_1', 'work_item.created', '{}' FROM generate_series(1, %s)
"""

END_LISTENER = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[PostgresService]:
    """A daemon, not started yet, with a database on the server that tests share."""
    there = PostgresService(tmp_path / "hooks.db", new_database())
    yield there
    await there.close()


async def commit_out_of_order(service: PostgresService, receiver: Receiver, within: float = 60) -> None:
    """Let transactions that overlap commit and roll back in an order of chance, while the daemon takes what is there.

    FAULTS_SEED repeats an order. Every event that was committed arrives once, and no other.
    """
    seed = os.environ.get("FAULTS_SEED") or str(random.randrange(10**9))
    print(f"FAULTS_SEED={seed}")
    dice = random.Random(seed)
    await service.start()
    service.webhook(receiver.url)
    committed: list[str] = []
    with ExitStack() as stack:
        first, *others = [stack.enter_context(service.there.connect()) for _ in range(8)]
        (lowest,) = first.execute(INSERT, ['{"n": "lowest"}']).fetchone() or ("",)
        for _ in range(12):
            begun = []
            for conn in others:
                (event_id,) = conn.execute(INSERT, ["{}"]).fetchone() or ("",)
                begun.append((conn, event_id))
            dice.shuffle(begun)
            for conn, event_id in begun:
                if dice.random() < 0.2:
                    conn.rollback()
                else:
                    conn.commit()
                    committed.append(event_id)
                if dice.random() < 0.3:  # let the daemon take it, and see later ids before earlier ones
                    await until_sent(service, receiver, len(committed), within)
        await until_sent(service, receiver, len(committed), within)
        first.commit()
        committed.append(lowest)
    await service.until(lambda: service.is_marked() and len(receiver.requests) >= len(committed), within)
    assert Counter(row["event_id"] for row in service.log(limit=1000)) == Counter(committed)
    assert len(receiver.requests) == len(committed)


async def test_rows_that_commit_late_and_out_of_order_are_never_missed(
    service: PostgresService, receiver: Receiver
) -> None:
    """Their ids say nothing of when they can be read; a paused producer with the lowest id holds nobody up."""
    await commit_out_of_order(service, receiver)


async def test_an_id_watermark_is_found_by_that(
    service: PostgresService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that goes on behind the largest id that it has read loses what commits later."""
    bugs.reads_behind_the_largest_id(monkeypatch)
    with pytest.raises(TimeoutError):
        await commit_out_of_order(service, receiver, within=5)
    assert not service.is_marked()


async def commit_unheard(service: PostgresService, receiver: Receiver, within: float = 60) -> None:
    """Commit an event without a NOTIFY once the daemon rests."""
    service.migrate()
    service.webhook(receiver.url)
    service.commit()
    await service.start(migrating=False)
    await service.until(service.is_marked)
    await service.until_deliveries_rest()
    service.there.ask("ALTER TABLE outbox DISABLE TRIGGER outbox_inserted")
    service.commit()
    service.there.ask(END_LISTENER)
    await until_sent(service, receiver, 2, within)


async def test_what_was_committed_while_nobody_listened_is_found_once_somebody_does(
    service: PostgresService, receiver: Receiver
) -> None:
    """Its connection is ended: the next one looks, though no NOTIFY comes and the next poll is an hour away."""
    service.options["outbox"] = {"poll_interval": "1h"}
    await commit_unheard(service, receiver)


async def test_without_a_notify_the_poll_finds_it(
    service: PostgresService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody listens."""
    bugs.never_listens(monkeypatch)
    service.options["outbox"] = {"poll_interval": "50ms"}
    await commit_unheard(service, receiver)


@pytest.mark.parametrize("interval", ["1h", "50ms"])
async def test_neither_the_one_nor_the_other_is_found_by_that(
    service: PostgresService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, interval: str
) -> None:
    """Nobody listens and an hour until the next poll, or none at all."""
    bugs.never_listens(monkeypatch)
    if interval == "50ms":
        bugs.never_polls(monkeypatch)
    service.options["outbox"] = {"poll_interval": interval}
    with pytest.raises(TimeoutError):
        await commit_unheard(service, receiver, within=3)
    assert not service.is_marked()


async def test_an_event_is_taken_beside_20_000_dead_rows_that_a_snapshot_keeps(
    service: PostgresService, receiver: Receiver
) -> None:
    """Somebody's report holds a snapshot open: marked and deleted rows stay in the way of each read."""
    there = service.there
    there.ask(MANY, 20_000)
    with there.connect() as report:
        report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report.execute("SELECT count(*) FROM outbox")
        there.ask("UPDATE outbox SET fanned_out_at = now() - interval '30 days'")
        there.ask("DELETE FROM outbox")
        await service.start()
        service.webhook(receiver.url)
        ids = [service.commit() for _ in range(20)]
        await service.until(lambda: len(receiver.requests) == len(ids) and service.is_marked())
        assert report.execute("SELECT count(*) FROM outbox").fetchone() == (20_000,)
    assert Counter(row["event_id"] for row in service.log(limit=100)) == Counter(ids)


@pytest.fixture
def pooler(service: PostgresService) -> Iterator[str]:
    """The URL of the outbox's database behind PgBouncer in transaction mode."""
    with pooled(service.there, "transaction") as url:
        yield url


async def test_behind_a_pooler_in_transaction_mode_the_poll_finds_the_rows(
    service: PostgresService, receiver: Receiver, pooler: str, tmp_path: Path
) -> None:
    """No NOTIFY arrives there; `doctor` says so, and what to do."""
    service.options["outbox"] = {"url": pooler, "poll_interval": "50ms"}
    await service.start()
    service.webhook(receiver.url)
    ids = [service.commit() for _ in range(20)]
    await service.until(lambda: len(receiver.requests) == len(ids) and service.is_marked())
    await service.stop()
    shell = shell_of(tmp_path, service.there)
    shell.config.write_text(shell.config.read_text().replace(service.there.url, pooler))
    said = await asyncio.to_thread(shell.ours, "doctor", code=1)  # the daemon has ended
    assert "as behind a pooler in transaction mode" in said
