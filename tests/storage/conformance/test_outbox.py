"""`OutboxStore`: how rows are read and answered, in the database or apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.model import MAX_PAYLOAD_BYTES
from almirant_webhooks.storage.engine import CHANGED_AFTER_TAKEN, Busy, FanOut, ReadPlan

from .engines import ENGINES, START, Engine, text


def _projects(done: FanOut) -> list[str]:
    return [mark.row.project for mark in done.marks]


def test_projects_take_turns_and_each_one_s_oldest_come_first(engine: Engine) -> None:
    """However many rows one of them has."""
    engine.insert(*["a"] * 5, "d", "f")  # by name and by bucket in this order
    done = engine.take(plan=ReadPlan(4))
    assert _projects(done) == ["a", "d", "f", "a"]
    assert [mark.row.id for mark in done.marks if mark.row.project == "a"] == [1, 2]


def test_the_turn_goes_on_behind_a_project(engine: Engine) -> None:
    """And comes round."""
    engine.insert("a", "d", "f")
    assert _projects(engine.take(plan=ReadPlan(2, after="d"))) == ["f", "a"]


def test_no_more_rows_of_a_project_are_read_than_its_limit(engine: Engine) -> None:
    """They stay where they are."""
    engine.insert("a", "a", "b", "b")
    limits = {"a": 0, "b": 1}
    assert _projects(engine.take(plan=ReadPlan(10, limit=limits.get))) == ["b"]
    assert sorted(_projects(engine.take())) == ["a", "a", "b"]


def test_rows_that_are_apart_are_not_read(engine: Engine) -> None:
    """Their answers are on the way."""
    engine.insert("a", "a")
    assert [mark.row.id for mark in engine.take(plan=ReadPlan(10, excluded={1})).marks] == [2]


def test_whether_anything_waits_is_told_of_an_outbox_in_the_database(engine: Engine) -> None:
    """Apart, there may always be."""
    empty = not engine.outbox.is_in_database
    assert engine.outbox.is_anything_unread(engine.session, ReadPlan(10)) is empty
    engine.insert()
    assert engine.outbox.is_anything_unread(engine.session, ReadPlan(10))
    assert engine.outbox.is_anything_unread(engine.session, ReadPlan(10, excluded={1})) is empty
    engine.take()
    assert engine.outbox.is_anything_unread(engine.session, ReadPlan(10)) is empty


def test_changes_is_another_one_once_a_producer_has_committed(engine: Engine) -> None:
    """To an outbox apart; in the database the store tells."""
    source: Any = engine.outbox if not engine.outbox.is_in_database else None
    look = source.changes if source else lambda: engine.deliveries.changes(engine.session)
    before = look()
    assert look() == before
    engine.insert()
    assert look() != before


def test_a_row_that_breaks_the_rules_is_rejected_with_a_reason(engine: Engine) -> None:
    """And is in no other's way."""
    engine.webhook()
    engine.insert_broken()
    engine.insert()
    done = engine.take()
    assert (done.events, len(done.rejected)) == (1, 1)
    (broken, reason), taken = engine.answers()
    assert not broken
    assert reason
    assert taken == (True, None)


def test_a_row_that_is_larger_than_an_event_may_be_is_marked_apart(engine: Engine) -> None:
    """It is rejected, and its payload was not read."""
    engine.insert_broken()
    engine.insert()
    engine.enlarge(2, 4 * MAX_PAYLOAD_BYTES)
    done = engine.take()
    slow = [mark for mark in done.marks if mark.is_slow]
    assert [(mark.row.id, mark.row.payload) for mark in slow] == [(2, None)]
    assert all(reason for _, reason in engine.answers())


def test_marks_wait_for_nobody_s_lock(engine: Engine) -> None:
    """`Busy` says so at once, nothing was marked, and they are made by a later call."""
    engine.insert()
    work = engine.read(ReadPlan(10))
    done = engine.batch(**work).fan_out
    assert done is not None
    before = engine.answers()
    with engine.locked_outbox(), pytest.raises(Busy) as raised:
        engine.outbox.mark(engine.session, [done], START)
    assert "locked" in raised.value.why
    assert engine.answers() == before
    engine.outbox.mark(engine.session, [done], START)
    assert engine.answers() == [(True, None)]


def test_a_trigger_that_refuses_marks_keeps_no_event_from_being_taken(engine: Engine) -> None:
    """The rows and the words for people are in what was done; read again, they are duplicates."""
    engine.webhook()
    engine.insert()
    engine.refuse_marks()
    done = engine.take()
    assert (done.events, done.refused) == (1, {1})
    assert "no_marks" in str(done.refusal)
    assert engine.take().duplicates == 1
    assert engine.answers() == [(False, None)]


def test_the_content_of_an_erased_event_goes_though_another_row_is_refused(engine: Engine) -> None:
    """Its row that is read again is marked, and overwritten, by itself then."""
    engine.webhook()
    engine.refuse_marks(row=2)
    engine.insert("p", payload='{"name": "Mallory"}')
    engine.take()
    with engine.deliveries.transaction(engine.other_session):
        engine.other_session.execute("UPDATE events SET erased_at = ?", (text(START),))
    engine.change("fanned_out_at", None)
    engine.insert("q")
    assert engine.take().refused == {2}
    assert engine.answers() == [(True, None), (False, None)]
    assert "Mallory" not in str(engine.payloads())


@pytest.fixture(
    params=["SQLite, an outbox apart", pytest.param("SQLite, an outbox in PostgreSQL", marks=pytest.mark.slow)]
)
def apart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine that reads and marks the outbox in transactions of their own: its producers may come between them."""
    opened = ENGINES[request.param](tmp_path)
    yield opened
    opened.close()


OTHER_CONTENT = "event_id is already used in this project with other content"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("event_type", "lead.updated", OTHER_CONTENT),
        ("payload", '{"a": 1}', OTHER_CONTENT),
        ("occurred_at", "2026-11-20T09:00:00.000Z", CHANGED_AFTER_TAKEN),
        ("project_id", "other", None),
        ("event_id", "another", None),
    ],
)
def test_a_change_between_the_read_and_the_mark_is_not_swallowed(
    apart: Engine, column: str, value: str, reason: str | None
) -> None:
    """Another id or project makes another event; the rest is rejected with its reason, as the event was taken already."""
    apart.insert()
    work = apart.read(ReadPlan(10))
    apart.change(column, value)
    done = apart.batch(**work).fan_out
    assert done is not None
    apart.outbox.mark(apart.session, [done], START)
    events = done.events + apart.take().events
    assert (events, apart.answers()) == (2 if reason is None else 1, [(reason is None, reason)])
