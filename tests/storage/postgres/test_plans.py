"""How PostgreSQL finds the rows of a batch: it looks each of them up, whatever it has been told of the tables' sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from almirant_webhooks.storage.postgres import in_database
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, begin_reading, writing
from almirant_webhooks.storage.postgres.dialect import spell, spell_rows
from almirant_webhooks.storage.sql import log, resends, results, selecting
from almirant_webhooks.storage.sql.matching import SUBSCRIBED, patterns_of

from ...support.daemons import Daemons

WEBHOOKS = """
INSERT INTO webhooks (id, project_id, url, secret, created_at, updated_at)
SELECT 'wh_' || n, 'proj_' || n, 'https://receiver.example/', '', now(), now() FROM generate_series(1, 300) n
"""
SUBSCRIPTIONS = "INSERT INTO subscriptions SELECT id, '*' FROM webhooks"
DELIVERIES = """
INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, created_at)
SELECT 'dlv_' || n, n, 'evt_' || n, 'wh_1', 'succeeded', now() FROM generate_series(1, 3000) n
"""
ATTEMPTS = """
INSERT INTO attempts (delivery_id, number, trigger, started_at, outcome, status_code, url, request_headers)
SELECT d.id, n, 'manual', now(), 'success', 200, '', '[]' FROM deliveries d, generate_series(1, 3000) n WHERE d.id = 'dlv_1'
"""
EVENT = """
INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body)
VALUES (1, 'evt_1', 'proj_1', 'lead.created', now(), now(), '{}')
"""
EVENTS = """
INSERT INTO events (seq, project_id, id, event_type, occurred_at, created_at, body)
SELECT n, 'proj_1', 'evt_' || n, 'a.b', now(), now(), '{}' FROM generate_series(1, 3000) n
"""
IN_FLIGHT = "UPDATE deliveries SET in_flight = 1 WHERE event_seq <= 200"


@pytest.fixture
def session(daemons: Daemons) -> Iterator[DatabaseSession]:
    with closing(daemons.session()) as session:
        yield session


def plan(session: DatabaseSession, select: str, values: list[object]) -> Iterator[str]:
    """Yield the lines of a plan as it is run within a batch."""
    statement = spell_rows(select) if "json_group_array" in select else spell(select)
    with writing(session, alone=False):
        cursor = psycopg.RawCursor(session.conn)
        cursor.execute(f"EXPLAIN (ANALYZE) {statement.text}".encode(), statement.values(values))
        yield from (line for (line,) in cursor)


def fill(session: DatabaseSession, *statements: str) -> None:
    with writing(session):
        for statement in statements:
            session.run(statement)


KINDS = {("proj_7", "work_item.moved"), ("proj_9", "lead.created")}


async def test_the_webhooks_of_an_event_are_found_by_its_project(session: DatabaseSession) -> None:
    """And not by a look at all webhooks."""
    fill(session, WEBHOOKS, SUBSCRIPTIONS, "ANALYZE")
    lines = list(plan(session, SUBSCRIBED, [patterns_of(KINDS)]))
    assert any("Index Cond: (project_id =" in line for line in lines), lines


async def test_tables_are_joined_in_the_order_in_which_they_are_written(session: DatabaseSession) -> None:
    """While nothing is known of them too: the list of what is looked for was gone through for each webhook."""
    fill(session, WEBHOOKS, SUBSCRIPTIONS)
    lines = list(plan(session, SUBSCRIBED, [patterns_of(KINDS)]))
    first, second = (next(at for at, line in enumerate(lines) if name in line) for name in ("json_each", "on webhooks"))
    assert first < second, lines


async def test_an_index_is_not_read_from_end_to_end_as_it_was_short_once(session: DatabaseSession) -> None:
    """A statement keeps the plan that it got when a table had few rows, and had none when it was last looked at."""
    fill(session, "ANALYZE", DELIVERIES.replace("3000", "10"), IN_FLIGHT)
    lines = list(plan(session, results._IN_FLIGHT, ['["dlv_1", "dlv_2"]']))
    assert any("Index Cond: (id = " in line for line in lines), lines


LOOKED_UP = {
    "deliveries that match": (selecting._MATCHING.format(webhooks="", where="true"), '["dlv_1", "dlv_2"]'),
    "rows of deliveries": (selecting._ROWS, '["dlv_1", "dlv_2"]'),
    "events that are listed": (f"{log.EVENTS} {log._LISTED}", "[1, 2]"),
}


@pytest.mark.parametrize("what", LOOKED_UP)
async def test_what_a_page_looks_up_by_ids_is_found_by_them(session: DatabaseSession, what: str) -> None:
    """And not by a walk through the whole log in the order that the page shows."""
    fill(session, WEBHOOKS, EVENTS, DELIVERIES, "ANALYZE")
    select, ids = LOOKED_UP[what]
    statement = spell(select)
    begin_reading(session)
    cursor = psycopg.RawCursor(session.conn)
    cursor.execute(f"EXPLAIN (ANALYZE) {statement.text}".encode(), statement.values([ids]))
    lines = [line for (line,) in cursor]
    assert not any("Backward" in line or "Gather" in line for line in lines), lines
    read = [float(number) for line in lines for number in re.findall(r"rows=([\d.]+) loops", line)]
    assert max(read) < 100, lines


@pytest.mark.parametrize("analysed", [["ANALYZE"], []], ids=["analysed", "never analysed"])
@pytest.mark.parametrize("of", ["all", "unwell ones"])
async def test_of_each_webhook_that_is_counted_with_others_few_deliveries_are_looked_at(
    session: DatabaseSession, analysed: list[str], of: str
) -> None:
    """However many it has, by an index that has no others."""
    fill(session, WEBHOOKS, EVENTS, DELIVERIES, "UPDATE deliveries SET last_status = '500', attempts = 1", *analysed)
    small_index = selecting.UNWELL if of == "unwell ones" else ""
    select = resends._COUNT_FEW.format(matches="d.test = 0", small_index=small_index)
    values: list[object] = ["", selecting.LAST, json.dumps([f"wh_{number}" for number in range(1, 51)])]
    lines = list(plan(session, select, values))
    assert any("Index Cond" in line and "webhook_id = " in line for line in lines), lines
    read = [float(number) for line in lines for number in re.findall(r"rows=([\d.]+) loops", line)]
    assert max(read) <= 50, lines


async def test_an_outbox_is_looked_at_bucket_by_bucket(session: DatabaseSession) -> None:
    """And not as a whole for the buckets of a daemon: what waits was taken for little."""
    with writing(session, alone=False):
        lines = [line for (line,) in session.run(f"EXPLAIN {in_database._ANY_OWNED}", list(range(32)), [])]
    assert any("Index Cond" in line for line in lines), lines
    assert not any("Join Filter" in line for line in lines), lines


async def test_deliveries_whose_attempts_end_are_found_by_their_ids(session: DatabaseSession) -> None:
    """A seeded bug before: the index of what is in flight was taken for empty, and read as a whole for each of them."""
    fill(session, DELIVERIES, "ANALYZE deliveries", IN_FLIGHT)
    lines = list(plan(session, results._IN_FLIGHT, ['["dlv_1", "dlv_2"]']))
    assert any("deliveries_pkey" in line for line in lines), lines
    assert not any("Rows Removed" in line for line in lines), lines


async def test_the_newest_attempts_of_a_delivery_are_read_without_the_older_ones(session: DatabaseSession) -> None:
    """A person may resend without an end, and a page that is open asks again and again."""
    fill(session, WEBHOOKS, EVENT, DELIVERIES, ATTEMPTS, "ANALYZE")
    lines = list(plan(session, log.ATTEMPTS, ["dlv_1", 3001 - log.MOST_ATTEMPTS, 3000]))
    assert any("Index Cond:" in line and "number >=" in line for line in lines), lines
    assert not any("rows=3000" in line or "Rows Removed" in line for line in lines), lines
