"""Groups: what one transaction records, begins and fans out, and which one comes next."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from almirant_webhooks.db import group, results, unread, webhooks
from almirant_webhooks.db.connection import transaction
from almirant_webhooks.db.fanout import FanOut
from almirant_webhooks.db.outbox import Mark
from almirant_webhooks.db.unread import OutboxRow
from almirant_webhooks.fairness import Room, Shares
from almirant_webhooks.grouping import CLAIM_MOST, HURRIED_MOST, Grouping
from almirant_webhooks.inbox import PATIENCE, WORTH, Inbox
from almirant_webhooks.model import Due, Outcome, Result
from almirant_webhooks.outage import Outage
from almirant_webhooks.retry import Schedule

from .steps import SCHEDULE, START, Steps

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


def _row(number: int, project: str = "p") -> OutboxRow:
    return OutboxRow(number, f"evt_{number}", project, "a.b", "", 2, "{}", True)


def test_a_new_delivery_is_not_in_front_of_others_of_its_webhook() -> None:
    """One that waits for its retry is not in its way."""
    shares = Shares(256, 8)
    shares.replace_due({"late": Due("2026", "p"), "retries": Due(LATER, "p")})
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


def test_rows_wait_a_little_for_enough_slots() -> None:
    """And are taken then, however few there are: a receiver that hangs is in nobody's way."""
    box = Inbox(one_file=True)
    box.add([_row(1), _row(2)])
    box.take(FanOut(marks=[Mark(_row(1), None)]), 10.0)
    assert box.ready(0, 10.0) == []
    assert box.next_look() == 10.0 + PATIENCE
    assert [row.id for row in box.ready(0, 10.0 + PATIENCE)] == [2]
    assert [row.id for row in box.ready(WORTH, 10.0)] == [2]


def _results(count: int) -> list[Result]:
    return [Result(None, Outcome.SUCCESS, START, 5)] * count  # type: ignore[arg-type]


def test_a_few_rows_go_in_front_of_a_large_group() -> None:
    """Every other time; and groups are smaller while that goes on."""
    box = Inbox(one_file=True)
    grouping = Grouping(Shares(256, 8), box, Outage(), Schedule((timedelta(0), timedelta(minutes=1))))

    def choose() -> tuple[int, int, int]:
        chosen, left = grouping.choose(_results(100), START, in_flight=0, stopping=False)
        return len(chosen.results), len(chosen.rows), len(left)

    assert choose() == (100, 0, 0)
    box.add([_row(1)])
    assert choose() == (0, 1, 100)
    assert choose() == (HURRIED_MOST, 1, 100 - HURRIED_MOST)
    assert HURRIED_MOST < 100 < CLAIM_MOST
