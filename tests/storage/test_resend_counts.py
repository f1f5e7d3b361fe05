"""A count of what would be sent again is made of parts, each of which is short whatever is in the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.engine import CountPlace
from almirant_webhooks.storage.sql import resends
from almirant_webhooks.storage.sqlite.connection import Connection, open_reader

from ..support.service import Service

pytestmark = pytest.mark.sqlite

COUNT = 5_000
EVERY = 100  # instructions of SQLite between two looks


@pytest.fixture
def filled(service: Service) -> Iterator[tuple[Connection, list[str]]]:
    """A log in which two webhooks of one project have 5,000 deliveries each, every fifth failed, and one of another project."""
    service.migrate()
    ids = [service.webhook(f"https://example.com/{number}", project=f"proj_{number // 2}").id for number in range(3)]
    _fill(service.database, ids)
    reader = open_reader(service.database)
    yield reader, ids
    reader.close()


def _fill(database: Path, ids: list[str]) -> None:
    conn = sqlite3.connect(database)
    with conn:
        conn.execute(
            "INSERT INTO events (id, project_id, event_type, occurred_at, created_at, body) "
            "VALUES ('e', 'proj_0', 'a.b', '', '', '{}')"
        )
        conn.execute(
            "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < :most) "
            "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, attempts, last_number, created_at, last_status) "
            "SELECT printf('dlv_%016d', n), 1, 'e', iif(n % 2, :one, :two), iif(n % 5, 'succeeded', 'failed'), 1, 1, '', "
            "iif(n % 5, '200', '500') FROM n",
            {"most": 2 * COUNT - 1, "one": ids[0], "two": ids[1]},
        )
        conn.execute(
            "INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, cause, url, request_headers) "
            "SELECT id, 1, 'scheduled', '', 1, 'http_error', 'answered 500', '', '[]' FROM deliveries WHERE state = 'failed'"
        )
    conn.close()


def _parts(conn: Connection, selection: Selection) -> tuple[dict[str, int], list[int]]:
    """Count to the end; return the sum by webhook and how often a part has been looked at, every `EVERY` instructions."""
    counts: dict[str, int] = {}
    looks: list[int] = []
    place: CountPlace | None = None
    while True:
        seen = [0]
        conn.set_progress_handler(lambda seen=seen: seen.__setitem__(0, seen[0] + 1), EVERY)  # type: ignore[misc]
        part = resends.count_part(conn, selection, place)
        conn.set_progress_handler(None, 0)
        looks.append(seen[0])
        assert part.looked_at <= resends.PART
        for webhook, count in part.counts.items():
            counts[webhook] = counts.get(webhook, 0) + count
        if (place := part.place) is None:
            return counts, looks


@pytest.mark.parametrize(
    "selection",
    [
        Selection(cause="nowhere to be found"),
        Selection(cause="500", state="failed"),
        Selection(project_id="proj_0", event_type="a.b"),
        Selection(status="5xx"),
        Selection(state="succeeded"),
        Selection(state="held"),
        Selection(event_id="e"),
    ],
    ids=lambda one: " ".join(one.dump()),
)
def test_the_parts_of_a_count_are_short_and_come_to_the_same_as_the_whole(
    filled: tuple[Connection, list[str]], selection: Selection
) -> None:
    """No part takes more instructions than 2,000 rows need, though 10,000 are there; an event's own deliveries are one part."""
    conn, _ = filled
    counts, looks = _parts(conn, selection)
    assert counts == resends.count(conn, selection)
    if selection.event_id is None:
        assert max(looks) * EVERY < 150 * resends.PART


def test_a_part_looks_at_a_bounded_number_of_webhooks(
    filled: tuple[Connection, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those without deliveries cost a look each."""
    conn, ids = filled
    monkeypatch.setattr(resends, "PART_WEBHOOKS", 1)
    first = resends.count_part(conn, Selection(project_id="proj_1"), CountPlace((ids[2], ids[0]), ""))
    assert first == ({}, 0, CountPlace((ids[0],), ""))


def test_webhooks_with_few_deliveries_are_counted_together(
    filled: tuple[Connection, list[str]], service: Service
) -> None:
    """Each statement of its own is a way to a server and back: 400 webhooks took longer than a page may."""
    conn, ids = filled
    few = [service.webhook(f"https://example.com/few/{number}", project="few").id for number in range(90)]
    for number, webhook in enumerate(few):
        service.execute(
            "UPDATE deliveries SET webhook_id = ? WHERE id IN "
            "(SELECT id FROM deliveries WHERE webhook_id = ? ORDER BY id LIMIT ?)",
            webhook, ids[0], 2 + number % (resends.FEW - 1),
        )  # fmt: skip
    statements: list[str] = []
    selection = Selection(project_id="few", status="5xx")
    conn.set_trace_callback(statements.append)
    part = resends.count_part(conn, selection, CountPlace(tuple(few), ""))
    conn.set_trace_callback(None)
    assert part.place is None
    assert part.counts == resends.count(conn, selection)
    assert len(statements) < 6
