"""Groups: what one transaction records, begins and fans out, and which one comes next."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta

from almirant_webhooks.db import group, results, unread, webhooks
from almirant_webhooks.db.connection import transaction
from almirant_webhooks.db.fanout import FanOut
from almirant_webhooks.db.outbox import Mark
from almirant_webhooks.db.unread import FEW, OutboxRow
from almirant_webhooks.fairness import Room, Shares
from almirant_webhooks.grouping import CLAIM_MOST, HURRIED_MOST, HURRY, Grouping
from almirant_webhooks.inbox import MOST_BYTES, PATIENCE, ROWS, WORTH, Inbox
from almirant_webhooks.model import MAX_PAYLOAD_BYTES, Due, Outcome, Result
from almirant_webhooks.outage import Outage
from almirant_webhooks.retry import Schedule

from .faults.test_outage import ended
from .steps import SCHEDULE, START, Steps
from .test_fairness import offer

LATER = "9999"


def _insert(steps: Steps, count: int) -> list[OutboxRow]:
    steps.outbox.executemany(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', ?)", [("{}",)] * count
    )
    return unread.read_unread(steps.outbox, 100)


def _write(steps: Steps, asked: group.Group) -> group.Written:
    with transaction(steps.conn):
        return group.write(steps.conn, asked, SCHEDULE, START, copied_at=START, one_file=True)


def test_a_new_delivery_with_a_slot_begins_with_its_insertion(steps: Steps) -> None:
    """Event, delivery, attempt and mark are one transaction; a crash after it is an interrupted attempt that is made again."""
    webhook = steps.webhook()
    (claim,) = _write(steps, group.Group([], {}, _insert(steps, 1), lambda webhook, served: True)).begun
    assert (claim.webhook_id, claim.number, claim.body[:7]) == (webhook.id, 1, b'{"id": ')
    assert unread.read_unread(steps.outbox, 100) == []
    assert steps.claim(webhook, START) == [], "it is in flight"
    with transaction(steps.conn):
        assert results.interrupt_open(steps.conn, SCHEDULE, START) == 1
    (again,) = steps.claim(webhook, START)
    assert (again.delivery_id, again.number, again.body) == (claim.delivery_id, 2, claim.body)


def test_a_group_that_fails_leaves_nothing(steps: Steps) -> None:
    """Its rows are read again, and what is sent then is one delivery."""
    webhook = steps.webhook()
    rows = _insert(steps, 1)
    with suppress(ZeroDivisionError), transaction(steps.conn):
        asked = group.Group([], {}, rows, lambda webhook, served: True)
        assert group.write(steps.conn, asked, SCHEDULE, START, copied_at=START, one_file=True).begun
        raise ZeroDivisionError
    assert unread.read_unread(steps.outbox, 100) == rows
    assert _write(steps, group.Group([], {}, rows)).begun == []
    assert len(steps.claim(webhook, START)) == 1


def test_only_enabled_webhooks_are_given_slots(steps: Steps) -> None:
    """The delivery of a disabled one is held, and the other's begins."""
    on, off = steps.webhook(), steps.webhook(url="https://example.com/off")
    with transaction(steps.conn):
        webhooks.disable(steps.conn, off.id, START)
    written = _write(steps, group.Group([], {}, _insert(steps, 1), lambda webhook, served: True))
    assert [claim.webhook_id for claim in written.begun] == [on.id]
    assert written.fan_out is not None
    assert written.fan_out.deliveries == 2


def test_rows_beyond_the_most_deliveries_are_left_for_the_next_group(steps: Steps) -> None:
    """A row's deliveries are never torn apart."""
    steps.webhook()
    steps.webhook(url="https://example.com/other")
    written = _write(steps, group.Group([], {}, _insert(steps, 5), most=3))
    assert written.fan_out is not None
    assert (written.fan_out.events, written.fan_out.deliveries) == (2, 4)
    assert len(unread.read_unread(steps.outbox, 100)) == 3


def _row(number: int, project: str = "p", size: int = 2, *, is_of_few: bool = False) -> OutboxRow:
    payload = "{}" if size <= MAX_PAYLOAD_BYTES else None
    return OutboxRow(number, f"evt_{number}", project, "a.b", "", size, payload, True, is_of_few)


def _take_first(box: Inbox, deliveries: int) -> int:
    """Take the first row that is ready, as if all of a group's deliveries were its own; return its number."""
    row = box.ready(WORTH, 0.0)[0]
    box.take(FanOut(marks=[Mark(row, None)], deliveries=deliveries), 0.0)
    return row.id


def test_a_new_delivery_is_not_in_front_of_others_of_its_webhook() -> None:
    """One that waits for its retry is not in its way."""
    shares = Shares(256, 8)
    offer(shares, {"late": Due("2026", "p"), "retries": Due(LATER, "p")})
    room = Room(shares, 100)
    assert [room.take_new(webhook, "2027") for webhook in ("late", "retries", "fresh")] == [False, True, True]


def test_new_deliveries_may_take_slots_that_a_full_group_leaves() -> None:
    """A group is bounded so that others need not wait for it, not to keep slots free."""
    shares = Shares(256, 8)
    room = Room(shares, 0)
    assert room.left == 0
    assert room.take_new("fresh", "2027")


def test_projects_take_turns_in_the_inbox() -> None:
    """One that was read later is not behind all of another's."""
    box = Inbox(one_file=True)
    box.add([_row(number, "loud") for number in range(1, 40)])
    box.add([_row(100, "quiet")])
    assert [row.id for row in box.ready(WORTH, 0.0)][:3] == [1, 100, 2]


def test_projects_take_turns_between_groups() -> None:
    """Where one row fills a group, the project that had it is behind the others in the next, however often it inserts."""
    box = Inbox(one_file=True)
    box.add([_row(number, "loud") for number in range(1, 40)])
    box.add([_row(100, "quiet"), _row(101, "quiet"), _row(200, "third")])
    assert [_take_first(box, 512) for _ in range(4)] == [1, 100, 200, 2]
    box.add([_row(102, "late")])
    assert [_take_first(box, 512) for _ in range(3)] == [101, 102, 3]


def test_many_projects_that_come_and_go_do_not_pass_by_one_with_a_backlog() -> None:
    """A project that is seen for the first time is behind those that wait, whatever group served them last."""
    box = Inbox(one_file=True)
    box.add([_row(number, "loud") for number in range(1, 40)])
    taken = []
    for number in range(100, 110):
        box.add([_row(number, f"new-{number}")])
        taken.append(_take_first(box, 512))
    assert [row for row in taken if row < 40] == [1, 2, 3]


def test_a_group_has_few_large_rows() -> None:
    """A megabyte of payload ends it; one that is too large to be taken has none that is written, and counts for none."""
    size = MAX_PAYLOAD_BYTES
    box = Inbox(one_file=True)
    box.add([_row(number, size=size) for number in range(10)])
    assert len(box.ready(WORTH, 0.0)) == MOST_BYTES // size
    rejected = Inbox(one_file=True)
    rejected.add([_row(number, size=2**30) for number in range(10)])
    assert len(rejected.ready(WORTH, 0.0)) == 10


def test_no_more_is_read_than_enough_rows_or_bytes() -> None:
    """A producer that is faster than the receivers fills no memory; what others have inserted meanwhile finds a little room."""
    many, large = Inbox(one_file=True), Inbox(one_file=True)
    many.add([_row(number) for number in range(ROWS)])
    large.add([_row(number, size=MAX_PAYLOAD_BYTES) for number in range(32)])
    assert (many.to_read, large.to_read) == (ROWS, 2 * ROWS - 32)
    many.add([_row(ROWS)])
    large.add([_row(32, size=MAX_PAYLOAD_BYTES)])
    assert (many.to_read, large.to_read) == (0, 0)
    many.add([_row(number, is_of_few=True) for number in range(1000, 1000 + FEW - 1)])
    assert (many.has_room_for_few, large.has_room_for_few) == (True, True)
    many.add([_row(2000, is_of_few=True)])
    assert not many.has_room_for_few


def test_rows_that_come_to_many_deliveries_are_read_a_few_at_a_time() -> None:
    """What is in hand is a group or two, so that another project's row is not read behind many of them."""
    box = Inbox(one_file=True)
    box.add([_row(number) for number in range(9)])
    _take_first(box, 10)
    assert box.to_read == 8
    box.add([_row(9)])
    assert box.to_read == 0


def test_rows_wait_a_little_for_enough_slots() -> None:
    """And are taken then, however few there are: a receiver that hangs is in nobody's way."""
    box = Inbox(one_file=True)
    box.add([_row(1), _row(2)])
    box.take(FanOut(marks=[Mark(_row(1), None)]), 10.0)
    assert box.ready(0, 10.0) == []
    assert box.next_look() == 10.0 + PATIENCE
    assert [row.id for row in box.ready(0, 10.0 + PATIENCE)] == [2]
    assert [row.id for row in box.ready(WORTH, 10.0)] == [2]


def test_a_few_rows_again_and_again_are_in_nobodys_way() -> None:
    """Many who have few, each of whose rows is in the next group, do not make those of whoever has many wait for ever."""
    box = Inbox(one_file=True)
    box.add([_row(1, "loud"), _row(2, "loud")])
    box.take(FanOut(marks=[Mark(_row(1, "loud"), None)]), 10.0)
    for number in range(100, 103):
        box.add([_row(number, f"quiet-{number}", is_of_few=True)])
        (row,) = box.ready(0, 10.0)
        assert row.id == number
        box.take(FanOut(marks=[Mark(row, None)]), 10.0 + PATIENCE)
    assert [row.id for row in box.ready(0, 10.0 + PATIENCE)] == [2]


def test_a_few_rows_go_in_front_whatever_those_of_others_come_to() -> None:
    """And tell little of it: no more is read of events with many deliveries because one with few came between."""
    box = Inbox(one_file=True)
    box.add([_row(number, "wide") for number in range(1, 6)])
    assert _take_first(box, 100) == 1
    box.add([_row(100, "quiet", is_of_few=True)])
    (row,) = box.few
    box.take(FanOut(marks=[Mark(row, None)], deliveries=1), 0.0)
    assert (len(box.rows), box.to_read) == (4, 4)


def test_the_lock_is_left_to_producers_only_where_one_may_wait_for_it() -> None:
    """Where few rows come, into our own file, and none of them is in hand."""
    for one_file in (True, False):
        box = Inbox(one_file=one_file)
        grouping = _grouping(box, Outage())
        assert not grouping.leaves_the_lock(time.monotonic())
        box.add([_row(1, is_of_few=True)])
        chosen, _ = grouping.choose([], START, in_flight=0, stopping=False)
        assert not grouping.leaves_the_lock(time.monotonic()), "it is in hand"
        box.take(FanOut(marks=[Mark(chosen.rows[0], None)]), 0.0)
        now = time.monotonic()
        assert grouping.leaves_the_lock(now) is one_file
        assert not grouping.leaves_the_lock(now + HURRY)


def _grouping(box: Inbox, outage: Outage) -> Grouping:
    return Grouping(Shares(256, 8), box, outage, Schedule((timedelta(0), timedelta(minutes=1))))


def _results(count: int) -> list[Result]:
    return [Result(None, Outcome.SUCCESS, START, 5)] * count  # type: ignore[arg-type]


def test_a_few_rows_go_in_front_of_a_large_group() -> None:
    """Every other time; and groups are smaller while that goes on."""
    box = Inbox(one_file=True)
    grouping = _grouping(box, Outage())

    def choose() -> tuple[int, int, int]:
        chosen, left = grouping.choose(_results(100), START, in_flight=0, stopping=False)
        return len(chosen.results), len(chosen.rows), len(left)

    assert choose() == (100, 0, 0)
    box.add([_row(1, is_of_few=True)])
    assert choose() == (0, 1, 100)
    assert choose() == (HURRIED_MOST, 1, 100 - HURRIED_MOST)
    assert HURRIED_MOST < 100 < CLAIM_MOST


def test_of_many_rows_those_of_projects_that_have_few_go_in_front() -> None:
    """They alone; one that inserts more than that does not, as a producer that is faster than we are makes no group small."""
    box = Inbox(one_file=True)
    box.add([*(_row(number, "loud") for number in range(1, 40)), _row(40, "quiet", is_of_few=True)])
    grouping = _grouping(box, Outage())
    chosen, _ = grouping.choose(_results(100), START, in_flight=0, stopping=False)
    assert ([row.id for row in chosen.rows], chosen.results) == ([40], [])
    fast = Inbox(one_file=True)
    fast.add([_row(number, is_of_few=True) for number in range(FEW + 1)])
    chosen, _ = _grouping(fast, Outage()).choose(_results(100), START, in_flight=0, stopping=False)
    assert (len(chosen.results), len(chosen.rows)) == (100, FEW + 1)


def test_a_few_rows_do_not_wait_for_enough_slots() -> None:
    """They are in the next group, and those of whoever has many wait as before."""
    box = Inbox(one_file=True)
    box.add([_row(1, "loud"), _row(2, "loud"), _row(3, "quiet", is_of_few=True)])
    box.take(FanOut(marks=[Mark(_row(1), None)]), 10.0)
    assert [row.id for row in box.ready(0, 10.0)] == [3]


def test_fewer_attempts_begin_as_more_results_wait_to_be_recorded() -> None:
    """Groups that go first record none; results must not pile up behind them."""
    shares = Shares(256, 8)
    offer(shares, {str(webhook): Due("2020", "p") for webhook in range(500)})
    grouping = Grouping(shares, Inbox(one_file=True), Outage(), SCHEDULE)

    def begin(waiting: int) -> int:
        chosen, left = grouping.choose(_results(waiting), START, in_flight=0, stopping=False)
        assert len(left) == max(0, waiting - CLAIM_MOST)
        return sum(chosen.wanted.values())

    assert [begin(count) for count in (0, CLAIM_MOST, CLAIM_MOST + 100, 2 * CLAIM_MOST, 5 * CLAIM_MOST)] == [
        CLAIM_MOST,
        CLAIM_MOST,
        CLAIM_MOST - 100,
        0,
        0,
    ]


def test_nothing_new_is_taken_while_the_daemon_stops() -> None:
    """What is in hand stays in the outbox; results are recorded still."""
    box = Inbox(one_file=True)
    box.add([_row(1)])
    chosen, _ = _grouping(box, Outage()).choose(_results(3), START, in_flight=0, stopping=True)
    assert (len(chosen.results), chosen.rows, list(box.rows)) == (3, [], [1])


def test_nothing_new_begins_while_it_looks_like_an_outage_of_ours() -> None:
    """Events are fanned out, and wait: attempts that begin in that second would be lost with the others."""
    box, outage = Inbox(one_file=True), Outage()
    grouping = _grouping(box, outage)
    box.add([_row(1)])
    chosen, _ = grouping.choose([], START, in_flight=3, stopping=False)
    assert chosen.take("webhook", False)
    for name in ("a", "b", "c"):
        outage.meet(ended(name), 0.0)
    assert outage.why is None
    chosen, _ = grouping.choose([], START, in_flight=3, stopping=False)
    assert [row.id for row in chosen.rows] == [1]
    assert not chosen.take("webhook", False)
