"""Batches: what one transaction records, begins and fans out."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from almirant_webhooks import clock
from almirant_webhooks.delivery.batch import Chooser
from almirant_webhooks.delivery.health import Health
from almirant_webhooks.delivery.network import Outage
from almirant_webhooks.delivery.outbox_reader import OutboxReader
from almirant_webhooks.delivery.pace import LEAST, Pace
from almirant_webhooks.delivery.scheduler import Scheduler, Slots
from almirant_webhooks.model import Due, Outcome, Result
from almirant_webhooks.ops.metrics import Metrics
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.settings.schema import Settings
from almirant_webhooks.storage.engine import OutboxRow, ReadPlan, Work, WrittenBatch
from almirant_webhooks.storage.sql import batch, results, webhooks
from almirant_webhooks.storage.sqlite import inside, unread
from almirant_webhooks.storage.sqlite.connection import transaction
from almirant_webhooks.storage.sqlite.outbox_stores import OutboxInDatabase

from ..support.steps import SCHEDULE, START, Steps
from .test_scheduler import offer
from .test_wake_ups import RESULT

pytestmark = pytest.mark.sqlite

ALL = ReadPlan(100)


def _insert(steps: Steps, count: int) -> list[OutboxRow]:
    steps.outbox.executemany(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', ?)", [("{}",)] * count
    )
    return unread.read_unread(steps.outbox, ALL)


def _write(steps: Steps, work: Work) -> WrittenBatch:
    with transaction(steps.conn):
        return batch.write(steps.conn, work, SCHEDULE, START, inside)


def _always(webhook: str, served: bool) -> bool:
    return True


def test_a_new_delivery_with_a_slot_begins_with_its_insertion(steps: Steps) -> None:
    """Event, delivery, attempt and mark are one transaction; a crash after it is an interrupted attempt that is made again."""
    webhook = steps.webhook()
    _insert(steps, 1)
    (claim,) = _write(steps, Work(to_read=ALL, take_slot=_always)).begun
    project = json.loads(claim.body)["projectId"]
    assert (claim.webhook_id, project, claim.number, claim.body[:7]) == (webhook.id, "p", 1, b'{"id": ')
    assert unread.read_unread(steps.outbox, ALL) == []
    assert steps.claim(webhook, START) == [], "it is in flight"
    with transaction(steps.conn):
        assert results.interrupt_open(steps.conn, SCHEDULE, START) == 1
    (again,) = steps.claim(webhook, START)
    assert (again.delivery_id, again.number, again.body) == (claim.delivery_id, 2, claim.body)


@pytest.mark.parametrize("one_file", [True, False])
def test_a_batch_that_fails_leaves_nothing(steps: Steps, one_file: bool) -> None:
    """Its rows are read again, its results are recorded by a later one, and what is sent then is one delivery."""
    webhook = steps.webhook()
    steps.event()
    (claim,) = steps.claim(webhook, START)
    rows = _insert(steps, 1)
    work = Work([Result(claim, Outcome.SUCCESS, START, 5, status_code=200)], take_slot=_always)
    work = work._replace(to_read=ALL) if one_file else work._replace(rows=rows)
    with suppress(ZeroDivisionError), transaction(steps.conn):
        assert batch.write(steps.conn, work, SCHEDULE, START, inside).begun
        raise ZeroDivisionError
    assert unread.read_unread(steps.outbox, ALL) == rows
    assert steps.conn.execute("SELECT count(*) FROM attempts").fetchone()[0] == 0
    changes = _write(steps, work)
    assert (changes.dropped, len(changes.begun)) == (0, 1)
    assert steps.conn.execute("SELECT count(*) FROM deliveries").fetchone()[0] == 2


def test_a_batch_tells_what_is_due_where_it_may_have_changed_that(steps: Steps) -> None:
    """At webhooks that were claimed from, whose new delivery waits, or that have another attempt to come."""
    waits, begins, fails, succeeds = (steps.webhook(project_id=project) for project in ("waits", "begins", "fails", "succeeds"))  # fmt: skip
    insert = "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'lead.created', '{}')"
    steps.outbox.executemany(insert, [("fails",), ("succeeds",)])
    failed, succeeded = _write(steps, Work(to_read=ALL, take_slot=_always)).begun
    steps.outbox.executemany(insert, [("waits",), ("begins",)])
    ended = [
        Result(failed, Outcome.HTTP_ERROR, START, 5, status_code=500),
        Result(succeeded, Outcome.SUCCESS, START, 5, status_code=200),
    ]
    changes = _write(steps, Work(ended, to_read=ALL, take_slot=lambda webhook, served: webhook == begins.id))
    assert changes.touched == {waits.id, fails.id}
    assert changes.due.keys() == {waits.id, fails.id}
    steps.resend(succeeded.delivery_id, START)
    (again,) = _write(steps, Work(starts={fails.id: 1, succeeds.id: 1})).begun
    changes = _write(steps, Work([Result(again, Outcome.SUCCESS, START, 5, status_code=200)]))
    assert (changes.touched, changes.due) == (set(), {})


def test_a_new_delivery_of_an_ordered_webhook_begins_in_the_batch_that_records_the_one_before(steps: Steps) -> None:
    """What has ended is written first then; a failure that is to be tried again keeps it waiting."""
    webhook = steps.webhook(options={"ordered": True})
    _insert(steps, 1)
    (first,) = _write(steps, Work(to_read=ALL, take_slot=_always)).begun
    _insert(steps, 1)
    succeeded = Result(first, Outcome.SUCCESS, START, 5, status_code=200)
    (second,) = _write(steps, Work([succeeded], to_read=ALL, take_slot=_always)).begun
    assert (second.webhook_id, second.number) == (webhook.id, 1)
    _insert(steps, 1)
    failed = Result(second, Outcome.HTTP_ERROR, START, 5, status_code=500)
    assert _write(steps, Work([failed], to_read=ALL, take_slot=_always)).begun == []


def test_a_batch_says_once_what_it_begins_before_it_is_committed(steps: Steps) -> None:
    """What was due and what is new: the requests are prepared meanwhile, and dropped if the commit fails."""
    due = steps.webhook()
    steps.event()
    new = steps.webhook(url="https://example.com/new", events=["lead.created"])
    _insert(steps, 1)
    told: list[list[str]] = []
    work = Work(
        starts={due.id: 1},
        to_read=ALL,
        take_slot=_always,
        prepare=lambda claims: told.append([claim.webhook_id for claim in claims]),
    )
    begun = _write(steps, work).begun
    assert told == [[claim.webhook_id for claim in begun]]
    assert set(told[0]) == {due.id, new.id}


def test_only_enabled_webhooks_are_given_slots(steps: Steps) -> None:
    """The delivery of a disabled one is held, and the other's begins."""
    on, off = steps.webhook(), steps.webhook(url="https://example.com/off")
    with transaction(steps.conn):
        webhooks.disable(steps.conn, off.id, START)
    _insert(steps, 1)
    changes = _write(steps, Work(to_read=ALL, take_slot=_always))
    assert [claim.webhook_id for claim in changes.begun] == [on.id]
    assert changes.fan_out is not None
    assert changes.fan_out.deliveries == 2
    assert changes.fan_out.enabled == {("p", "lead.created"): [on.id]}, "what is held takes no slot of its project"


@pytest.mark.parametrize(("first_wait", "rows"), [("0s", 0), ("10m", None)])
def test_rows_wait_for_a_slot_only_where_deliveries_begin_with_their_insertion(
    first_wait: str, rows: int | None
) -> None:
    """With a first wait in the schedule none takes a slot, and all are copied as fast as they can be."""
    scheduler, metrics = Scheduler(256, 8), Metrics()
    scheduler.project_slots.learn({("p", "lead.created"): ["wh_1"]})
    scheduler.in_flight["wh_1"] = 8
    chooser = Chooser(
        scheduler,
        OutboxReader(metrics, frozenset(), OutboxInDatabase(Path.cwd())),
        Outage(),
        Pace(),
        Health(metrics),
        Schedule(Settings.model_validate({"delivery": {"retry_schedule": [first_wait]}}).delivery.retry_schedule),
    )
    plan = chooser.choose([], START, 0.0, may_begin=True).to_read
    assert plan is not None
    assert plan.limit("p") == rows


def test_a_batch_within_the_gap_for_producers_reads_a_few_rows_and_begins_nothing_that_is_due() -> None:
    """What it reads takes slots; what is due waits for the end of the gap."""
    scheduler, metrics, pace = Scheduler(256, 8), Metrics(), Pace()
    offer(scheduler, {"late": Due("2026", "p")})
    reader = OutboxReader(metrics, frozenset(), OutboxInDatabase(Path.cwd()))
    chooser = Chooser(scheduler, reader, Outage(), pace, Health(metrics), Schedule((timedelta(0),)))
    for at in (99.0, 99.5):
        pace.note_foreign_commit(at)
    pace.observe_batch(99.992, 99.995, 100.0, 10)
    ended = [RESULT] * 3 * LEAST
    within = chooser.choose(ended, START, 100.001, may_begin=True)
    assert within.to_read is not None
    assert within.to_read.max_rows == LEAST
    assert within.is_brief
    assert (within.work.results, within.work.starts) == ([RESULT] * 2 * LEAST, {})
    assert within.work.take_slot("new", True)
    reader.deliveries_per_row = LEAST + 1.0
    assert not chooser.may_be_brief(100.001), "one row would be more than a few deliveries"
    after = chooser.choose(ended[:2], START, 100.1, may_begin=True)
    assert (after.is_brief, after.work.results, after.work.starts) == (False, [RESULT] * 2, {"late": 2})


def test_rows_beyond_the_most_deliveries_are_left_for_the_next_batch(steps: Steps) -> None:
    """A row's deliveries are never torn apart."""
    steps.webhook()
    steps.webhook(url="https://example.com/other")
    _insert(steps, 5)
    changes = _write(steps, Work(to_read=ALL, max_deliveries=3))
    assert changes.fan_out is not None
    assert (changes.fan_out.events, changes.fan_out.deliveries) == (2, 4)
    assert len(unread.read_unread(steps.outbox, ALL)) == 3


def test_a_row_larger_than_an_event_may_be_is_left_to_be_marked_apart(steps: Steps) -> None:
    """SQLite writes all of it anew, be it a gigabyte: the batch does not wait for that, and does not read it again."""
    steps.webhook()
    steps.outbox.execute("PRAGMA ignore_check_constraints=ON")
    steps.outbox.execute(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', ?)", (f'"{"x" * 300_000}"',)
    )
    steps.outbox.execute("PRAGMA ignore_check_constraints=OFF")
    _insert(steps, 1)
    changes = _write(steps, Work(to_read=ALL))
    assert changes.fan_out is not None
    assert [mark.is_slow for mark in changes.fan_out.marks] == [True, False]
    assert [row.id for row in unread.read_unread(steps.outbox, ALL)] == [1]
    assert unread.read_unread(steps.outbox, ALL._replace(excluded={1})) == []


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("headers", "[1]", "the headers of {} cannot be read: set them anew."),
        ("headers", '[["X-A", 1]]', "the headers of {} cannot be read: set them anew."),
        ("switch_at", "soon", "the time of the next secret of {} cannot be read: rotate it anew."),
    ],
)
def test_a_webhook_that_was_broken_by_hand_is_disabled_and_stops_no_other(
    steps: Steps, column: str, value: str, why: str
) -> None:
    """What it is told by stands in its row; before, the daemon ended, and again after each start."""
    broken, well = steps.webhook(), steps.webhook(url="https://example.com/well")
    steps.conn.execute(
        "UPDATE webhooks SET next_secret = ?, switch_at = ? WHERE id = ?", ("n" * 20, clock.text(START), broken.id)
    )
    steps.conn.execute(f"UPDATE webhooks SET {column} = ? WHERE id = ?", (value, broken.id))
    _insert(steps, 1)
    changes = _write(steps, Work(to_read=ALL, take_slot=lambda webhook, served: True))
    assert changes.unopenable == {broken.id: why.format(broken.id)}
    assert [claim.webhook_id for claim in changes.begun] == [well.id]
    assert steps.conn.execute("SELECT enabled FROM webhooks WHERE id = ?", (broken.id,)).fetchone()[0] == 0


def test_a_new_delivery_is_not_in_front_of_others_of_its_webhook() -> None:
    """One that waits for its retry is not in its way."""
    shares = Scheduler(256, 8)
    offer(shares, {"late": Due("2026", "p"), "retries": Due("9999", "p")})
    slots = Slots(shares, 100)
    assert [slots.take_new(webhook, "2027") for webhook in ("late", "retries", "fresh")] == [False, True, True]


def test_new_deliveries_may_take_slots_that_a_full_batch_leaves() -> None:
    """A batch is bounded so that others need not wait for it, not to keep slots free."""
    shares = Scheduler(256, 8)
    slots = Slots(shares, 0)
    assert slots.left == 0
    assert slots.take_new("fresh", "2027")
