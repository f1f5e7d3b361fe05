"""The daemon's answer to a row of the outbox: to what was read of it, and not to what its producer has made of it since."""

from __future__ import annotations

from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.engine import FanOut, OutboxRow, ReadPlan
from almirant_webhooks.storage.sql import fanout
from almirant_webhooks.storage.sqlite import marking, rejected_rows
from almirant_webhooks.storage.sqlite.connection import transaction
from almirant_webhooks.storage.sqlite.unread import read_unread

from ..support.steps import SCHEDULE, START, Steps

pytestmark = pytest.mark.sqlite

INSERT = "INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES ('p', 'lead.created', '{}', 'e')"
IN_USE = "event_id is already used in this project with other content"
CHANGES = {
    "event_type": ("lead.updated", IN_USE),
    "payload": ('{"a": 1}', IN_USE),
    "occurred_at": (clock.text(START - timedelta(days=1)), "occurred_at was changed after the event had been taken"),
    "project_id": ("other", None),
    "event_id": ("another", None),
}


def _take(steps: Steps, rows: list[OutboxRow]) -> FanOut:
    """Copy and mark rows that were read before, as from an outbox in another file; in our own, both are one transaction."""
    with transaction(steps.conn):
        done = fanout.fan_out(steps.conn, rows, SCHEDULE.waits[0], START)
    with transaction(steps.outbox):
        marking.mark(steps.outbox, done, done.marks, done.batch, clock.text(START))
    return done


@pytest.mark.parametrize("column", CHANGES)
def test_a_change_between_the_read_and_the_mark_is_not_swallowed(steps: Steps, column: str) -> None:
    """Another id or project makes another event; the rest is rejected with its reason, as the event was taken already."""
    value, reason = CHANGES[column]
    steps.conn.execute(INSERT)
    rows = read_unread(steps.outbox, ReadPlan(10))
    steps.conn.execute(f"UPDATE outbox SET {column} = ?", (value,))
    _take(steps, rows)
    _take(steps, read_unread(steps.outbox, ReadPlan(10)))
    is_taken, why = steps.conn.execute("SELECT fanned_out_at IS NOT NULL, rejected_reason FROM outbox").fetchone()
    assert (bool(is_taken), why) == (reason is None, reason)
    assert steps.conn.execute("SELECT count(*) FROM events").fetchone()[0] == (2 if reason is None else 1)


@pytest.mark.parametrize("column", [*CHANGES, "payload that was too large"])
def test_a_row_that_was_mended_meanwhile_is_not_rejected(steps: Steps, column: str) -> None:
    """Whichever column its fault was in."""
    steps.conn.execute("PRAGMA ignore_check_constraints=ON")
    steps.conn.execute(INSERT)
    broken: object = b"\xff"
    if column.startswith("payload that"):
        column, broken = "payload", b"{" + b" " * 300_000 + b"}"
    (right,) = steps.conn.execute(f"SELECT {column} FROM outbox").fetchone()
    steps.conn.execute(f"UPDATE outbox SET {column} = CAST(? AS TEXT)", (broken,))
    rows = read_unread(steps.outbox, ReadPlan(10))
    steps.conn.execute(f"UPDATE outbox SET {column} = ?", (right,))
    _take(steps, rows)
    assert steps.conn.execute("SELECT count(*) FROM events").fetchone()[0] == 0
    _take(steps, read_unread(steps.outbox, ReadPlan(10)))
    assert steps.conn.execute("SELECT rejected_reason FROM outbox").fetchone()[0] is None
    assert steps.conn.execute("SELECT count(*) FROM events").fetchone()[0] == 1


@pytest.mark.parametrize("size", [10, 20_000])
def test_a_payload_that_is_no_text_is_rejected_and_those_beside_it_are_taken(steps: Steps, size: int) -> None:
    """The checks of the outbox take it for JSON. A large one is read apart from the others."""
    steps.conn.execute(INSERT)
    broken = b'{"a": "\xff' + b"x" * size + b'"}'
    steps.conn.execute(INSERT.replace("'e'", "'f'").replace("'{}'", "CAST(? AS TEXT)"), (broken,))
    steps.conn.execute(INSERT.replace("'e'", "'g'"))
    _take(steps, read_unread(steps.outbox, ReadPlan(10)))
    rows = steps.conn.execute("SELECT event_id, fanned_out_at IS NOT NULL, rejected_reason FROM outbox ORDER BY id")
    assert [tuple(row) for row in rows] == [("e", 1, None), ("f", 0, "payload is not UTF-8 (byte 7)"), ("g", 1, None)]
    assert read_unread(steps.outbox, ReadPlan(10)) == []


def test_a_change_that_was_rejected_counts_as_rejected(steps: Steps) -> None:
    """In metric and log too, which go by the answers of the fan-out; the others of its batch are taken."""
    steps.conn.execute(INSERT)
    steps.conn.execute(INSERT.replace("'e'", "'f'"))
    rows = read_unread(steps.outbox, ReadPlan(10))
    steps.conn.execute("UPDATE outbox SET occurred_at = '2026-01-01T00:00:00.000Z' WHERE event_id = 'e'")
    done = _take(steps, rows)
    assert [mark.row.event_id for mark in done.rejected] == ["e"]
    assert [mark.row.event_id for mark in done.marks] == ["e", "f"]


def test_a_reason_that_is_no_text_is_shown_with_those_of_others(steps: Steps) -> None:
    """A producer may write one: the column has no rule."""
    for reason in (b"\xffA", b"plain"):
        steps.conn.execute(
            "INSERT INTO outbox (project_id, event_type, payload, rejected_reason) "
            "VALUES ('p', 'lead.created', '{}', CAST(? AS TEXT))",
            (reason,),
        )
    rows, _ = rejected_rows.newest(steps.outbox, 10)
    assert [row["rejected_reason"] for row in rows] == ["plain", "\ufffdA"]
