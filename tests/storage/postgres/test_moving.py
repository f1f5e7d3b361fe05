"""`migrate --from FILE`: from a file to PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Misconfigured, Refused
from almirant_webhooks.ops import sealing
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.mixed import moving
from almirant_webhooks.storage.postgres import moves
from almirant_webhooks.storage.sql import log, search, webhooks

from ...conftest import Receiver
from ...support.postgres import new_tables
from ...support.postgres_service import EverythingInPostgres, shell_of_all
from ...support.service import SECRET, Service

_ANALYSED = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'almirant_webhooks'::regnamespace AND c.reltuples > 0
AND EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = 'almirant_webhooks' AND s.tablename = c.relname)
"""
_WAITING = """
SELECT event_id, project_id, event_type, payload, occurred_at FROM outbox
WHERE fanned_out_at IS NULL AND rejected_reason IS NULL ORDER BY id
"""
_WEBHOOKS = "SELECT reltuples::int FROM pg_class WHERE oid = 'almirant_webhooks.webhooks'::regclass"


@pytest.fixture
async def source(tmp_path: Path, receiver: Receiver) -> Service:
    """A database in a file with a log, a webhook that holds deliveries, and a row of the outbox that waits."""
    service = Service(tmp_path / "from" / "hooks.db")
    service.database.parent.mkdir()
    await service.start()
    service.webhook(receiver.url, headers={"X-Token": "of the receiver"})
    off = service.webhook("http://127.0.0.1:9/", project="proj_2")
    service.write(webhooks.disable, off.id, clock.now())
    service.insert({"n": 1}, {"n": "two \u0000 of them"})
    service.insert(project="proj_2")
    await service.until(lambda: sorted(row["state"] for row in service.log()) == ["pending", "succeeded", "succeeded"])
    await service.stop()
    service.insert({"n": 3}, '{"n":  4, "é": null}')
    with closing(service.producer()) as conn, conn:
        conn.execute("PRAGMA ignore_check_constraints=ON")
        for number, payload in enumerate(("[]", "{}", b'{"a": "\xff"}')):
            conn.execute(
                "INSERT INTO outbox (project_id, event_type, payload, event_id, rejected_reason) "
                "VALUES ('proj_1', 'a.b', CAST(? AS TEXT), ?, 'for a reason')",
                (payload, f"rejected-{number}"),
            )
    return service


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[EverythingInPostgres]:
    there = EverythingInPostgres(tmp_path, new_tables())
    yield there
    await there.close()


async def test_everything_is_there_afterwards_and_goes_on(
    source: Service, target: EverythingInPostgres, receiver: Receiver, tmp_path: Path
) -> None:
    """The log reads the same, what waited is sent, and secrets are sealed with the other key."""
    shell = shell_of_all(target, tmp_path)
    before = source.log()
    shell.ours("migrate", "--from", str(source.database))
    assert target.log() == before
    rejected = target.there.ask("SELECT event_id FROM outbox WHERE rejected_reason = 'for a reason'")
    assert rejected == [("rejected-1",)]  # the others cannot be there
    for row in before:
        assert dict(target.read(log.delivery, row["delivery_id"])) == source.detail(row["delivery_id"])
    stored = target.there.ask("SELECT secret FROM webhooks")
    assert all("of the receiver" not in str(row) and SECRET not in row[0] for row in stored)
    await target.start(migrating=False)
    await target.until(lambda: sorted(state for state, _ in target.states()) == ["pending"] + ["succeeded"] * 4)
    assert receiver.requests[-1].headers["X-Token"] == "of the receiver"
    assert target.there.ask("SELECT seq FROM events ORDER BY seq") == [(1,), (2,), (3,), (4,), (5,)]
    await target.stop()


async def test_the_planner_knows_of_what_was_copied(source: Service, target: EverythingInPostgres) -> None:
    """Each table that has rows was analysed, the outbox too: autovacuum would do so minutes later."""
    said: list[str] = []
    old, new = sealing.beside(source.database), target.seals
    moving.move(source.database, target.there.place, old, new, lambda *_: None, said.append)
    assert any("ANALYZE" in line for line in said)
    analysed = {name for (name,) in target.there.ask(_ANALYSED)}
    filled = {name for name in (*moving.TABLES, "outbox") if target.there.ask(f"SELECT FROM {name} LIMIT 1")}
    assert {"webhooks", "deliveries", "attempts", "outbox"} <= filled
    assert filled <= analysed
    assert target.there.ask(_WEBHOOKS) == [(2,)]


@pytest.mark.slow
async def test_a_move_that_is_cut_short_goes_on_where_it_was(source: Service, target: EverythingInPostgres) -> None:
    """Until then no daemon and no command takes the database for whole."""
    place, old, new = target.there.place, sealing.beside(source.database), target.seals

    def cut(table: str, copied: int, total: int) -> None:
        if table == "deliveries":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        moving.move(source.database, place, old, new, cut, print)
    with pytest.raises(Misconfigured, match="cut short"):
        target.read(moves.check_none_under_way)
    copied: list[str] = []
    moving.move(source.database, place, old, new, lambda table, count, total: copied.append(table), print)
    assert "events" not in copied
    assert "attempts" in copied
    target.read(moves.check_none_under_way)
    assert len(target.read(search.newest, Selection())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["STEP", "STEP_BYTES"])
async def test_a_move_that_is_cut_short_after_every_row_copies_each_once(
    source: Service, target: EverythingInPostgres, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """In the middle of a table it goes on behind the last row that is there, and after the last one too. The outbox is the same.

    A step has few rows where they are large, so that they take a bounded part of the memory.
    """
    monkeypatch.setattr(moving, bound, 1)
    place, old, new = target.there.place, sealing.beside(source.database), target.seals
    copied: Counter[str] = Counter()
    cut_at = ["rows copied and compared", "ANALYZE"]

    def cut(table: str, count: int, total: int) -> None:
        copied[table] += 1
        assert count == copied[table] <= total
        raise KeyboardInterrupt

    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        if cut_at and cut_at[0] in sentence:
            del cut_at[0]
            raise KeyboardInterrupt

    cuts = 0
    while True:
        try:
            moving.move(source.database, place, old, new, cut, say)
            break
        except KeyboardInterrupt:
            cuts += 1
            with pytest.raises(Misconfigured, match="cut short"):
                target.read(moves.check_none_under_way)
    assert cuts == copied.total() + 2
    assert {"webhooks": 2, "events": 3, "deliveries": 3, "attempts": 2}.items() <= copied.items()
    assert {"deliveries: 3 rows to copy.", "deliveries: 3 rows to compare."} <= set(said)
    target.read(moves.check_none_under_way)
    assert target.log() == source.log()
    waiting = [tuple(row) for row in source.execute(_WAITING)]
    assert target.execute(_WAITING) == waiting
    assert len(waiting) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("step", "row"), [(5000, 1), (1, 1), (1, 2)])
async def test_a_row_that_is_another_one_is_found(
    source: Service, target: EverythingInPostgres, step: int, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is compared, on each page of them, what is secret as it is opened."""
    monkeypatch.setattr(moving, "STEP", step)
    place, old, new = target.there.place, sealing.beside(source.database), target.seals

    def change(table: str, copied: int, total: int) -> None:
        if table == "audit" or table == "attempts":
            target.there.ask(f"UPDATE attempts SET duration_ms = duration_ms + 1 WHERE rowid = {row}")

    with pytest.raises(Refused, match="attempts"):
        moving.move(source.database, place, old, new, change, print)


@pytest.mark.slow
async def test_only_an_empty_database_is_moved_to(
    source: Service, target: EverythingInPostgres, tmp_path: Path
) -> None:
    """What is there stays as it is; a file that is missing and a daemon that runs are named too."""
    shell = shell_of_all(target, tmp_path)
    assert "no file" in shell.ours("migrate", "--from", str(tmp_path / "nothing.db"), code=78)
    await source.start()
    move = ("migrate", "--from", str(source.database))
    assert "Another daemon runs on" in await asyncio.to_thread(shell.ours, *move, code=1)
    await source.stop()
    await target.start()
    await target.until(lambda: target.ask("SELECT count(*) FROM daemons") == (1,))
    assert "a daemon is there. Stop all of them" in await asyncio.to_thread(shell.ours, *move, code=1)
    await target.stop()
    target.webhook("http://127.0.0.1:9/")
    assert "not empty" in shell.ours("migrate", "--from", str(source.database), code=1)


def test_every_table_is_copied_or_left_on_purpose(tmp_path: Path) -> None:
    """A table that is new is put into one of the two."""
    service = Service(tmp_path / "hooks.db")
    service.migrate()
    with closing(sqlite3.connect(service.database)) as conn:
        names = {
            row[0]
            for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        }
    assert names == moving.TABLES.keys() | moving.LEFT
