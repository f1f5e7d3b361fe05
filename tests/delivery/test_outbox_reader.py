"""What is known of the outbox between two reads: whose rows come next, whose wait, and what is not marked yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from almirant_webhooks.delivery.outbox_reader import (
    FLOW,
    LOOKED_AT,
    MAX_MARK_WAIT,
    MAX_SKIPPED,
    MIN_ROWS,
    MOST_UNMARKED,
    SMALL_READ,
    OutboxReader,
)
from almirant_webhooks.delivery.pace import ENOUGH, ENOUGH_WAIT
from almirant_webhooks.ops.metrics import Metrics
from almirant_webhooks.storage.engine import FanOut, Mark, OutboxRow, ReadPlan
from almirant_webhooks.storage.sqlite.outbox import open_outbox
from almirant_webhooks.storage.sqlite.outbox_stores import OutboxApart, OutboxInDatabase

from ..support.steps import Steps

pytestmark = pytest.mark.sqlite

MANY = 1000


def _reader() -> OutboxReader:
    return OutboxReader(Metrics(), frozenset(), OutboxInDatabase(Path("nowhere")))


def _reader_apart(steps: Steps) -> OutboxReader:
    return OutboxReader(Metrics(), frozenset(), OutboxApart(steps.path, lambda: open_outbox(steps.path, None)))


def _row(number: int, project: str = "p") -> OutboxRow:
    return OutboxRow(number, f"evt_{number}", project, "a.b", "", 2, "{}", True)


def _done(*projects: str, deliveries: int | None = None) -> FanOut:
    """What a read of a row of each project came to."""
    rows = [Mark(_row(number, project), None) for number, project in enumerate(projects)]
    return FanOut(marks=rows, deliveries=deliveries or len(rows))


def _asked(reader: OutboxReader, free: int = MANY, at: float = 100.0, *, anyway: bool = False) -> ReadPlan | None:
    return reader.plan_read(free, MANY, at, anyway=anyway)


def test_rows_are_read_when_there_are_news_and_not_without() -> None:
    """At once after a commit, until a read finds nothing; the poll is the backstop."""
    reader = _reader()
    assert _asked(reader)
    reader.confirm_read(None, 100.0)
    assert _asked(reader) is None
    assert reader.next_read(100.0) is None
    reader.check_for_commits(changed=True)
    assert _asked(reader, free=0)
    assert reader.next_read(100.0) == 0.0
    reader.confirm_read(None, 100.0)
    reader.force_read()
    assert _asked(reader)


def test_a_batch_that_is_written_anyway_looks_for_rows_too() -> None:
    """A commit right before it would otherwise wait for the next one."""
    reader = _reader()
    reader.confirm_read(None, 100.0)
    assert _asked(reader, anyway=True)


def test_rows_that_are_left_wait_a_little_for_enough_slots() -> None:
    """And are taken then, however few there are: a receiver that hangs is in nobody's way."""
    reader = _reader()
    reader.confirm_read(_done("p"), 100.0)
    assert _asked(reader, ENOUGH - 1) is None
    assert reader.next_read(100.0) == pytest.approx(ENOUGH_WAIT)
    assert _asked(reader, 0, 100.0 + ENOUGH_WAIT)
    assert _asked(reader, ENOUGH)


def test_rows_that_are_left_wait_as_long_as_a_batch_s_cost_is_worth() -> None:
    """What the batch before has taken says how long."""
    reader = _reader()
    reader.confirm_read(_done("p"), 100.0, 0.010)
    assert _asked(reader, ENOUGH - 1, 100.009) is None
    assert reader.next_read(100.0) == pytest.approx(0.010)
    assert _asked(reader, 0, 100.010)


def test_a_read_that_took_all_it_might_has_left_rows(steps: Steps) -> None:
    """The next one is made without a look whether there are any; after one that left some of its room there is a look."""
    reader = OutboxReader(Metrics(), frozenset(), OutboxInDatabase(steps.path))
    for rows, has_left in ((32, True), (31, False), (0, False)):
        reader.force_read()
        plan = _asked(reader, 32)
        assert plan is not None
        reader.confirm_read(_done(*"p" * rows) if rows else None, 100.0)
        assert reader.is_empty(steps.conn, plan) is not has_left


def test_no_more_rows_are_read_than_there_are_slots_for_their_deliveries() -> None:
    """Events that go to many webhooks are read a few at a time, so that another project's row is not behind many of them."""
    reader = _reader()
    first = _asked(reader, 80)
    for _ in range(20):
        reader.confirm_read(_done("wide", deliveries=100), 100.0)
    wide = _asked(reader, 400)
    assert first is not None
    assert wide is not None
    assert (first.max_rows, wide.max_rows) == (80, MIN_ROWS)


def test_rows_flow_while_a_read_takes_several_and_leaves_none() -> None:
    """A few do not, nor do as many as were asked for: then more are there already."""
    reader = _reader()
    assert _asked(reader, 32)
    reader.confirm_read(_done(*"p" * (FLOW - 1)), 100.0)
    assert not reader.is_flowing
    reader.force_read()
    assert _asked(reader, 32)
    reader.confirm_read(_done(*"p" * FLOW), 100.0)
    assert reader.is_flowing
    reader.force_read()
    assert _asked(reader, 32)
    reader.confirm_read(_done(*"p" * 32), 100.0)
    assert not reader.is_flowing
    reader.confirm_read(None, 100.0)
    assert not reader.is_flowing


def test_rows_of_a_project_that_has_no_slot_for_more_do_not_flow(steps: Steps) -> None:
    """More of them may wait, and the next batch is not held back for others; once they are all read, they do."""
    _insert(steps, *["p"] * (2 * FLOW))
    reader = _reader_apart(steps)
    assert len(_read(reader, {"p": FLOW}, 100.0)) == FLOW
    assert not reader.is_flowing
    assert len(_read(reader, {"p": 2 * FLOW}, 101.0)) == FLOW
    assert reader.is_flowing
    reader.close()


def _insert(steps: Steps, *projects: str) -> None:
    steps.outbox.executemany(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'lead.created', '{}')",
        [(project,) for project in projects],
    )


def _read(
    reader: OutboxReader, slots: dict[str, int], at: float, most: int = MANY, free: int = MANY, taken: int = MANY
) -> list[str]:
    """The projects of the rows that are read and fanned out at a time, `taken` at most, each with so many free slots."""
    plan = reader.plan_read(free, most, at, anyway=True, slots=slots.get)
    if plan is None:
        return []
    rows = (reader.read(plan) or [])[:taken]
    marks = [Mark(row, None) for row in rows]
    reader.confirm_read(FanOut(marks=marks, deliveries=len(marks)) if marks else None, at)
    reader.mark(None)
    return [row.project for row in rows]


def test_rows_of_a_project_without_a_free_slot_wait_for_one_in_the_outbox(steps: Steps) -> None:
    """Deliveries begin with their insertion then. After 50 ms their turn comes: what hangs is copied all the same."""
    _insert(steps, "busy", "free", "busy", "free")
    reader = _reader_apart(steps)
    slots = {"busy": 0, "free": 8}
    assert _read(reader, slots, 100.0) == ["free", "free"]
    assert _read(reader, slots, 100.01) == []
    assert reader.next_read(100.01) == pytest.approx(MAX_SKIPPED)
    assert _read(reader, slots | {"busy": 1}, 100.02) == ["busy"], "it has a slot"
    assert _read(reader, slots, 100.03) == []
    assert _read(reader, slots, 100.04 + MAX_SKIPPED) == ["busy"]
    reader.close()


@pytest.mark.parametrize("ended_after", [ENOUGH_WAIT / 2, 2 * ENOUGH_WAIT])
def test_a_slot_that_is_given_back_brings_the_next_row_however_few_slots_are_free(
    steps: Steps, ended_after: float
) -> None:
    """Rows that wait for it are read with the batch that records the attempt, or right after: not 50 ms later."""
    _insert(steps, "busy")
    reader = _reader_apart(steps)
    assert _read(reader, {"busy": 0}, 100.0, free=1) == []
    read = _read(reader, {"busy": 1}, 100.0 + ended_after, free=1)
    if not read:
        assert reader.next_read(100.0 + ended_after) == pytest.approx(ENOUGH_WAIT - ended_after)
        read = _read(reader, {"busy": 1}, 100.0 + ENOUGH_WAIT, free=1)
    assert read == ["busy"]
    reader.close()


def test_projects_without_a_free_slot_are_not_in_front_of_one_that_has_some(steps: Steps) -> None:
    """Where they are all that a read looks at, the next one goes on behind them."""
    busy = [f"busy{number:03}" for number in range(LOOKED_AT + 1)]
    _insert(steps, *busy, "z")
    reader = _reader_apart(steps)
    slots = dict.fromkeys(busy, 0)
    read = [_read(reader, slots, 100.0 + turn / 1000, most=MIN_ROWS) for turn in range(2)]
    assert read == [[], ["z"]]
    reader.close()


def _read_until(reader: OutboxReader, slots: dict[str, int], project: str, most: int) -> float:
    """Let it read whenever it wants to, with nothing in flight that ends; return after how long it has a project's row."""
    at = 100.0
    while at < 101.0:
        plan = reader.plan_read(MANY, most, at, anyway=False, slots=slots.get)
        rows = reader.read(plan) if plan is not None else None
        if rows is not None:
            marks = [Mark(row, None) for row in rows]
            reader.confirm_read(FanOut(marks=marks, deliveries=len(marks)) if marks else None, at)
            reader.mark(None)
            if project in [row.project for row in rows]:
                return at - 100.0
        at += reader.next_read(at) or 0.0
    raise AssertionError("its row is not read")


@pytest.mark.parametrize("most", [1, MIN_ROWS])
def test_many_projects_without_a_free_slot_cost_another_no_wait(steps: Steps, most: int) -> None:
    """They are more than rows are read at once, and the reader comes around to all before it rests."""
    busy = [f"busy{number}" for number in range(50)]
    _insert(steps, *busy, "free")
    reader = _reader_apart(steps)
    assert _read_until(reader, dict.fromkeys(busy, 0) | {"free": 8}, "free", most) < MAX_SKIPPED / 2
    reader.close()


@pytest.mark.parametrize("most", [1, MIN_ROWS])
def test_rows_without_a_slot_are_copied_after_50_ms_however_many_projects_they_are_of(steps: Steps, most: int) -> None:
    """How long one has waited is not forgotten by a read that looks at others."""
    busy = [f"busy{number}" for number in range(50)]
    _insert(steps, *busy)
    reader = _reader_apart(steps)
    assert _read_until(reader, dict.fromkeys(busy, 0), busy[0], most) < MAX_SKIPPED * 2 + 50 / most * ENOUGH_WAIT
    reader.close()


def test_rows_without_a_slot_leave_half_of_each_read_to_those_with_one(steps: Steps) -> None:
    """However many projects hang, and however long: those that wait longest come first."""
    busy = [f"busy{number:02}" for number in range(50)]
    _insert(steps, *busy, *busy)
    reader = _reader_apart(steps)
    slots = dict.fromkeys(busy, 0) | {"free": 8}
    assert [_read(reader, slots, 100.0, most=8) for _ in range(9)] == [[]] * 9, "all are seen, and none has a slot"
    seen: list[str] = []
    for turn in range(12):
        _insert(steps, *["free"] * 4)
        read = _read(reader, slots, 100.0 + MAX_SKIPPED + turn / 1000, most=8)
        assert read.count("free") > 1
        assert len(read) - read.count("free") == 8 / 2
        seen += sorted({*read} - {"free"})
    assert sorted(seen) == sorted({*seen})
    assert len(seen) == 12 * 8 / 2
    reader.close()


def test_rows_that_waited_for_a_slot_and_are_gone_are_not_waited_for(steps: Steps) -> None:
    """Their producer has deleted them: the daemon rests."""
    _insert(steps, "busy")
    reader = _reader_apart(steps)
    assert _read(reader, {"busy": 0}, 100.0) == []
    assert reader.next_read(100.0) == pytest.approx(MAX_SKIPPED)
    steps.outbox.execute("DELETE FROM outbox")
    assert _read(reader, {"busy": 0}, 101.0) == []
    assert reader.next_read(101.0) is None
    reader.close()


def test_each_project_has_its_turn_however_many_there_are(steps: Steps) -> None:
    """Where a batch has fewer rows than there are projects, the next one goes on behind the last."""
    steps.outbox.executemany(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'lead.created', '{}')",
        [(f"p{number:02}",) for number in range(50) for _ in range(3)],
    )
    reader = _reader_apart(steps)
    served: set[str] = set()
    for _ in range(-(-50 // MIN_ROWS)):
        plan = reader.plan_read(0, MIN_ROWS, 0.0, anyway=False)
        assert plan is not None
        rows = reader.read(plan)
        assert rows
        served |= {row.project for row in rows}
        reader.confirm_read(FanOut(marks=[Mark(row, None) for row in rows], deliveries=len(rows)), -ENOUGH_WAIT)
    assert len(served) == 50
    reader.close()


@pytest.mark.parametrize(
    ("most", "taken"), [(1, 1), (2, 2), (2, 1), (3, 3), (3, 2), (MIN_ROWS, MIN_ROWS), (MIN_ROWS, 1)]
)
def test_no_project_is_starved_by_others_that_have_few_rows_or_many(steps: Steps, most: int, taken: int) -> None:
    """Those with few have new ones before each read. A batch may take less than it has read, once that is too much for it."""
    many, few = [f"many{number}" for number in range(6)], [f"few{number}" for number in range(6)]
    _insert(steps, *many * 60, "c")
    reader = _reader_apart(steps)
    reads_until_all = 2 * (len(many) + len(few) + 1)
    seen: set[str] = set()
    for turn in range(reads_until_all):
        _insert(steps, *few)
        seen |= {*_read(reader, {}, 100.0 + turn, most=most, free=most, taken=taken)}
    assert seen == {*many, *few, "c"}
    reader.close()


def test_a_small_read_has_as_many_rows_of_projects_with_few_as_of_the_others(steps: Steps) -> None:
    """A batch of many rows has some of each project in any case, and one row goes by turns alone."""
    many = [f"many{number:02}" for number in range(12)]
    _insert(steps, *many * 40, "a", "few", "few", "few")
    reader = _reader_apart(steps)
    read = _read(reader, {}, 100.0, most=SMALL_READ)
    assert (read[-1], read.count("few"), read.count("a")) == ("few", 3, 1)
    _insert(steps, *["few"] * 4)
    assert [_read(reader, {}, 100.0 + turn, most=1) for turn in range(2)] == [["many04"], ["many05"]]
    assert _read(reader, {}, 103.0, most=SMALL_READ + 1)[:2] == ["many06", "many07"]
    reader.close()


def test_rows_that_are_copied_and_not_marked_yet_are_not_read_again(steps: Steps) -> None:
    """While a producer has the outbox locked, marks wait; what comes behind them is read."""
    steps.outbox.executemany(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', ?)", [("{}",)] * 3
    )
    reader = _reader_apart(steps)
    rows = reader.read(ReadPlan(2))
    assert rows is not None
    reader.confirm_read(FanOut(batch=1, marks=[Mark(row, None) for row in rows], deliveries=2), 100.0)
    steps.conn.execute("BEGIN IMMEDIATE")
    reader.mark(steps.conn)
    assert reader.has_marks
    plan = _asked(reader)
    assert plan is not None
    assert [row.id for row in reader.read(plan) or ()] == [3]
    steps.conn.execute("ROLLBACK")
    reader.mark(steps.conn)
    assert not reader.has_marks
    assert [row.id for row in reader.read(ReadPlan(10)) or ()] == [3]
    reader.close()


@pytest.mark.long
def test_no_more_rows_are_read_while_very_many_wait_for_their_marks(steps: Steps) -> None:
    """Their events are in memory, however long an application keeps its file locked; it goes on once they are marked."""
    steps.outbox.executemany(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', ?)",
        [("{}",)] * (MOST_UNMARKED + 1),
    )
    reader = _reader_apart(steps)
    rows = reader.read(ReadPlan(MOST_UNMARKED))
    assert rows is not None
    reader.confirm_read(FanOut(batch=1, marks=[Mark(row, None) for row in rows], deliveries=len(rows)), 100.0)
    steps.conn.execute("BEGIN IMMEDIATE")
    reader.mark(steps.conn)
    assert _asked(reader) is None
    waits = []
    for _ in range(10):
        reader.mark(steps.conn)
        waits.append(reader.next_read(100.0) or 0.0)
    assert waits == sorted(waits)
    assert waits[-1] == MAX_MARK_WAIT
    steps.conn.execute("ROLLBACK")
    reader.mark(steps.conn)
    assert not reader.has_marks
    assert _asked(reader) is not None
    reader.close()
