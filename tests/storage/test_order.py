"""An ordered webhook: one delivery after the other, in the order in which fan-out took their events. Every `now` is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, Outcome, Trigger, Webhook
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.engine import FIRST_RESEND, FanOut, ReadPlan
from almirant_webhooks.storage.sql import (
    claiming,
    deliveries,
    fanout,
    held,
    later_deliveries,
    log,
    resend_steps,
    resends,
    results,
    retention,
    webhooks,
)

from ..support.steps import SCHEDULE, START, Steps, transaction

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
FAILURE, SUCCESS = Outcome.HTTP_ERROR, Outcome.SUCCESS


def ordered(steps: Steps, **fields: Any) -> Webhook:
    return steps.webhook(options={"ordered": True}, **fields)


def events(steps: Steps, count: int) -> list[str]:
    """Take events one by one; return the deliveries of the first webhook, in the order of their events."""
    for _ in range(count):
        steps.event()
    return places(steps)


def places(steps: Steps) -> list[str]:
    return [row[0] for row in steps.conn.execute("SELECT id FROM deliveries WHERE test = 0 ORDER BY rowid")]


def ids(claims: Sequence[Claim]) -> list[str]:
    return [claim.delivery_id for claim in claims]


def due(steps: Steps, webhook: Webhook) -> str | None:
    """When the scheduler is told to look at the webhook again."""
    found = deliveries.first_due(steps.conn, [webhook.id])
    return found[webhook.id].at if webhook.id in found else None


def begin(steps: Steps, *kinds: str) -> FanOut:
    """Take events in one batch in which each new delivery gets a slot."""
    for kind in kinds or ("lead.created",):
        steps.outbox_part.insert(steps.outbox, project_id="p", event_type=kind, payload="{}", event_id=None)
    rows = steps.unread(ReadPlan(100))
    with transaction(steps.conn):
        done = fanout.fan_out(steps.conn, rows, SCHEDULE.waits[0], START, lambda webhook: True)
    steps.mark(done)
    return done


def change(steps: Steps, webhook: Webhook, **options: Any) -> None:
    with transaction(steps.conn):
        webhooks.update(steps.conn, webhook.id, options=options, now=START)  # type: ignore[arg-type]


def test_the_oldest_alone_is_claimed_and_the_next_one_after_its_end(steps: Steps) -> None:
    """However many slots there are; while it is in flight nothing is due."""
    webhook = ordered(steps)
    expected = events(steps, 3)
    for delivery in expected:
        assert due(steps, webhook) == clock.text(START)
        (claim,) = steps.claim(webhook, START)
        assert (claim.delivery_id, claim.trigger) == (delivery, Trigger.SCHEDULED)
        assert steps.claim(webhook, START) == []
        assert due(steps, webhook) is None
        steps.record(claim, SUCCESS, START)
    assert due(steps, webhook) is None


def test_a_head_that_fails_waits_its_schedule_and_all_others_with_it(steps: Steps) -> None:
    """Nothing is claimed and nobody is woken until it is due; when it has failed for good the next one goes."""
    webhook = ordered(steps)
    first, second = events(steps, 2)
    at = START
    for number, wait in enumerate(SCHEDULE.waits):
        at += wait
        assert due(steps, webhook) == clock.text(at)
        assert steps.claim(webhook, at - SECOND) == []
        claim = steps.attempt(webhook, at, FAILURE)
        assert (claim.delivery_id, claim.number) == (first, number + 1)
    assert due(steps, webhook) == clock.text(START)
    assert ids(steps.claim(webhook, at)) == [second]


def test_others_are_not_touched(steps: Steps) -> None:
    """A webhook beside it in the project has all of its own at once."""
    held_up, other = ordered(steps), steps.webhook()
    events(steps, 4)
    steps.attempt(held_up, START, FAILURE)
    assert steps.claim(held_up, START) == []
    assert len(steps.claim(other, START)) == 4


def test_resends_and_tests_have_a_slot_of_their_own(steps: Steps) -> None:
    """One at a time, beside the scheduled attempt and while that waits; and they hold nobody up."""
    webhook = ordered(steps)
    first, second, third, *_ = events(steps, 5)
    for _ in range(2):
        steps.attempt(webhook, START, SUCCESS)
    scheduled = steps.claim(webhook, START)
    assert ids(scheduled) == [third]
    steps.resend(first, START)
    steps.resend(second, START + SECOND)
    (resend,) = steps.claim(webhook, START)
    assert (resend.delivery_id, resend.trigger) == (first, Trigger.MANUAL)
    assert steps.claim(webhook, START) == []
    assert due(steps, webhook) is None, "both slots are taken: no reason to wake"
    steps.record(scheduled[0], SUCCESS, START)
    assert due(steps, webhook) == clock.text(START), "the resend under way is of one that has ended"
    (fourth,) = steps.claim(webhook, START)
    assert fourth.trigger is Trigger.SCHEDULED
    steps.record(resend, FAILURE, START)
    with transaction(steps.conn):
        test = webhooks.request_test(steps.conn, webhook.id, "lead.created", "{}", START)
    assert ids(steps.claim(webhook, START)) == [test]
    assert steps.claim(webhook, START) == [], "the second resend waits for the test"


def test_a_resend_of_a_later_one_holds_nobody_up(steps: Steps) -> None:
    """It is outside the order, though its delivery is pending."""
    webhook = ordered(steps)
    first, _, third = events(steps, 3)
    steps.resend(third, START)
    claims = steps.claim(webhook, START)
    assert [(claim.delivery_id, claim.trigger) for claim in claims] == [
        (third, Trigger.MANUAL),
        (first, Trigger.SCHEDULED),
    ]


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE])
def test_a_resend_of_the_head_lets_the_next_go_if_it_succeeds(steps: Steps, outcome: Outcome) -> None:
    """Meanwhile nothing else begins; a failure of it changes nothing."""
    webhook = ordered(steps)
    first, second = events(steps, 2)
    steps.attempt(webhook, START, FAILURE)
    steps.resend(first, START)
    (resend,) = steps.claim(webhook, START)
    assert (resend.delivery_id, resend.trigger) == (first, Trigger.MANUAL)
    assert steps.claim(webhook, START + MINUTE) == [], "never two attempts of one delivery, nor the next beside it"
    assert due(steps, webhook) is None
    steps.record(resend, outcome, START + SECOND)
    if outcome is SUCCESS:
        assert ids(steps.claim(webhook, START + SECOND)) == [second]
    else:
        assert steps.claim(webhook, START + SECOND) == []
        assert ids(steps.claim(webhook, START + MINUTE)) == [first]


def test_a_bulk_resend_of_what_waits_goes_in_order_by_one_attempt_each(steps: Steps) -> None:
    """The head's attempt on schedule and its resend are one."""
    webhook = ordered(steps)
    expected = events(steps, 4)
    counts = {webhook.id: 4}
    with transaction(steps.conn):
        resends.start(steps.conn, Selection(webhook_id=webhook.id), counts, actor="operator", now=START + DAY)
        resend_steps.step(steps.conn, START + DAY, FIRST_RESEND)
    sent = []
    while claims := steps.claim(webhook, START + DAY):
        (claim,) = claims
        sent.append(claim.delivery_id)
        steps.record(claim, SUCCESS, START + DAY)
    assert sent == expected


def test_a_new_delivery_begins_only_if_nothing_is_ahead_of_it(steps: Steps) -> None:
    """Of several in one batch the first; never beside one in flight, nor before one that waits."""
    webhook = ordered(steps)
    batch = begin(steps, "lead.created", "lead.updated")
    assert ids(batch.claims) == places(steps)[:1]
    assert begin(steps).claims == []
    steps.record(batch.claims[0], FAILURE, START)
    assert begin(steps).claims == [], "one that waits for its next attempt is ahead"
    for _ in range(4):
        (claim,) = steps.claim(webhook, START + MINUTE)
        steps.record(claim, SUCCESS, START + MINUTE)
    assert ids(begin(steps).claims) == places(steps)[-1:]


def test_a_resend_or_test_under_way_keeps_no_new_delivery_from_beginning(steps: Steps) -> None:
    """But for a resend of one that is pending, which is ahead."""
    webhook = ordered(steps)
    (first,) = events(steps, 1)
    steps.attempt(webhook, START, SUCCESS)
    steps.resend(first, START)
    (resend,) = steps.claim(webhook, START)
    (new,) = begin(steps).claims
    steps.record(new, FAILURE, START)
    steps.record(resend, SUCCESS, START)
    steps.resend(new.delivery_id, START)
    (resend,) = steps.claim(webhook, START)
    assert begin(steps).claims == []
    assert ids([resend]) == [new.delivery_id]


def test_after_a_crash_the_head_is_sent_again_before_all_others(steps: Steps) -> None:
    """Whether it arrived is not known."""
    webhook = ordered(steps)
    first, second = events(steps, 2)
    steps.claim(webhook, START)
    with transaction(steps.conn):
        results.interrupt_open(steps.conn, SCHEDULE, START + SECOND)
    assert ids([steps.attempt(webhook, START + SECOND, SUCCESS)]) == [first]
    assert ids(steps.claim(webhook, START + SECOND)) == [second]


def test_held_deliveries_go_in_order_once_it_is_enabled(steps: Steps) -> None:
    """With those that were taken meanwhile; while it is disabled none goes."""
    webhook = ordered(steps)
    events(steps, 2)
    steps.attempt(webhook, START, FAILURE)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
    expected = events(steps, 2)
    assert (steps.claim(webhook, START + DAY), due(steps, webhook)) == ([], None)
    with transaction(steps.conn):
        webhooks.enable(steps.conn, webhook.id, discard_held=False, now=START + DAY)
    assert [steps.attempt(webhook, START + DAY, SUCCESS).delivery_id for _ in range(4)] == expected


def test_what_is_discarded_holds_nothing_up_but_its_attempt_is_waited_for(steps: Steps) -> None:
    """They leave one at a time still."""
    webhook = ordered(steps)
    events(steps, 3)
    (under_way,) = steps.claim(webhook, START)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
        webhooks.enable(steps.conn, webhook.id, discard_held=True, now=START)
    (new,) = events(steps, 1)[3:]
    assert steps.claim(webhook, START) == []
    steps.record(under_way, FAILURE, START)
    assert ids(steps.claim(webhook, START)) == [new]


def test_what_was_held_too_long_lets_the_rest_go(steps: Steps) -> None:
    """It is cancelled: the next begins."""
    webhook = ordered(steps)
    events(steps, 1)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
    steps.event(START + 20 * DAY)
    with transaction(steps.conn):
        held.TooLong(START + DAY).step(steps.conn, 100)
        webhooks.enable(steps.conn, webhook.id, discard_held=False, now=START + 31 * DAY)
    assert ids(steps.claim(webhook, START + 31 * DAY)) == places(steps)[1:]


def test_a_head_whose_event_was_deleted_by_hand_is_cancelled_and_the_next_one_goes(steps: Steps) -> None:
    """In the claim after, which is due at once."""
    webhook = ordered(steps)
    _, second = events(steps, 2)
    steps.conn.execute("DELETE FROM events WHERE seq = 1")
    assert steps.claim(webhook, START) == []
    assert due(steps, webhook) == clock.text(START)
    assert ids(steps.claim(webhook, START)) == [second]


def test_a_head_that_was_deleted_by_hand_is_waited_for_no_more(steps: Steps) -> None:
    """Waiting, or in flight."""
    webhook = ordered(steps)
    first, second, third = events(steps, 3)
    steps.attempt(webhook, START, FAILURE)
    steps.conn.execute("DELETE FROM attempts")
    steps.conn.execute("DELETE FROM deliveries WHERE id = ?", (first,))
    (claim,) = steps.claim(webhook, START)
    assert claim.delivery_id == second
    steps.conn.execute("DELETE FROM deliveries WHERE id = ?", (second,))
    assert steps.record(claim, SUCCESS, START) == 1, "dropped"
    assert ids(steps.claim(webhook, START)) == [third]


def test_pruning_takes_what_has_ended_and_the_order_stays(steps: Steps) -> None:
    """The numbers of rows that are gone are not given again to anything ahead."""
    webhook = ordered(steps)
    events(steps, 2)
    steps.attempt(webhook, START, SUCCESS)
    with transaction(steps.conn):
        sweep = retention.Sweep(succeeded=DAY, failed=DAY, now=START + 10 * DAY)
        while sweep.step(steps.conn, 100):
            pass
    (second,) = places(steps)
    steps.event(START + 10 * DAY)
    assert ids([steps.attempt(webhook, START + 10 * DAY, SUCCESS)]) == [second]
    assert len(steps.claim(webhook, START + 10 * DAY)) == 1


def test_a_clock_that_is_set_back_upsets_no_order(steps: Steps) -> None:
    """What is taken by the new clock is due earlier, and comes later."""
    webhook = ordered(steps)
    (first,) = events(steps, 1)
    steps.attempt(webhook, START, FAILURE)
    back = START - 10 * DAY
    steps.event(back)
    assert steps.claim(webhook, back) == []
    steps.shift_due(10 * DAY, back)
    assert due(steps, webhook) == clock.text(back + MINUTE)
    assert ids([steps.attempt(webhook, back + MINUTE, SUCCESS)]) == [first]
    assert ids(steps.claim(webhook, back + MINUTE)) == places(steps)[1:]


def test_waits_that_are_shortened_after_a_start_keep_the_order(steps: Steps) -> None:
    """A head that was to wait until a clock's wrong time waits its schedule."""
    webhook = ordered(steps)
    first, _ = events(steps, 2)
    steps.attempt(webhook, START, FAILURE)
    back = START - 10 * DAY
    steps.shorten_waits(back)
    assert due(steps, webhook) == clock.text(back + MINUTE)
    assert ids(steps.claim(webhook, back + MINUTE)) == [first]


def test_switched_on_with_many_in_flight_it_begins_when_all_have_ended(steps: Steps) -> None:
    """Those that fail are waited for again in the order of their events, not of their next times."""
    webhook = steps.webhook()
    expected = events(steps, 8)
    claims = steps.claim(webhook, START)
    assert len(claims) == 8
    change(steps, webhook, ordered=True)
    ninth = events(steps, 1)[-1]
    for number, claim in enumerate(reversed(claims)):
        assert steps.claim(webhook, START) == []
        steps.record(claim, FAILURE if number > 5 else SUCCESS, START + number * SECOND)
    sent = [steps.attempt(webhook, START + DAY, SUCCESS).delivery_id for _ in range(3)]
    assert sent == [*expected[:2], ninth]


def test_switched_off_with_a_backlog_all_that_is_due_goes(steps: Steps) -> None:
    """And the one that held it up keeps its time."""
    webhook = ordered(steps)
    _, *others = events(steps, 5)
    steps.attempt(webhook, START, FAILURE)
    change(steps, webhook, ordered=None)
    assert due(steps, webhook) == clock.text(START)
    assert sorted(ids(steps.claim(webhook, START))) == sorted(others)


def test_the_place_is_given_by_fan_out_and_by_no_time_or_number_of_the_event(steps: Steps) -> None:
    """What is made later for an old event, as a replay does, comes after all that is there."""
    webhook = ordered(steps)
    events(steps, 2)
    steps.conn.execute(
        "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, next_attempt_at, created_at) "
        "SELECT 'dlv_0', seq, id, ?, '2020-01-01T00:00:00.000Z', '2020-01-01T00:00:00.000Z' FROM events WHERE seq = 1",
        (webhook.id,),
    )
    sent = [steps.attempt(webhook, START, SUCCESS).delivery_id for _ in range(3)]
    assert sent[-1] == "dlv_0"


def test_what_a_replay_makes_comes_after_all_that_is_there_in_order_by_its_schedule(steps: Steps) -> None:
    """Before what is taken later, however far the replay has come; no slot for resends is given to it."""
    steps.webhook()
    for _ in range(3):
        steps.event()
    webhook = ordered(steps)
    steps.event()
    with transaction(steps.conn):
        later_deliveries.make(steps.conn, webhook.id, [1, 2, 3], START, resend_id="rsd_1")
    steps.event()
    expected = [
        row[0]
        for row in steps.conn.execute("SELECT id FROM deliveries WHERE webhook_id = ? ORDER BY rowid", (webhook.id,))
    ]
    sent = []
    while claims := steps.claim(webhook, START):
        (claim,) = claims
        assert claim.trigger is Trigger.SCHEDULED
        assert due(steps, webhook) is None
        assert steps.claim(webhook, START) == []
        sent.append(claim.delivery_id)
        steps.record(claim, SUCCESS, START)
    assert sent == expected
    assert [steps.conn.execute("SELECT event_seq FROM deliveries WHERE id = ?", (one,)).fetchone()[0] for one in sent] == [4, 1, 2, 3, 5]  # fmt: skip
    assert due(steps, webhook) is None


def test_a_delivery_says_what_it_waits_for(steps: Steps) -> None:
    """The one that holds all up, with the number and time of its next attempt; that one waits for none."""
    webhook = ordered(steps)
    first, second, third = events(steps, 3)
    assert ahead(steps, first) is None
    assert ahead(steps, third) == (first, 1, False, clock.text(START))
    (claim,) = steps.claim(webhook, START)
    assert ahead(steps, second) == (first, 1, True, clock.text(START))
    assert ahead(steps, first) is None
    steps.record(claim, FAILURE, START)
    assert ahead(steps, second) == ahead(steps, third) == (first, 2, False, clock.text(START + MINUTE))
    assert deliveries.held_up_by(steps.conn, webhook.id) == log.delivery(steps.conn, second)["waits_for"]
    change(steps, webhook, ordered=None)
    assert ahead(steps, second) is None
    change(steps, webhook, ordered=True)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
    assert ahead(steps, second) is None, "it is held, which is said instead"


def ahead(steps: Steps, delivery: str) -> tuple[object, ...] | None:
    waits_for = log.delivery(steps.conn, delivery)["waits_for"]
    return tuple(waits_for.values()) if waits_for else None


def test_a_webhook_that_is_well_is_held_up_by_nothing(steps: Steps) -> None:
    """One that waits for its first attempt is no trouble, nor is a test or a resend."""
    webhook = ordered(steps)
    first, _ = events(steps, 2)
    assert deliveries.held_up_by(steps.conn, webhook.id) is None
    steps.attempt(webhook, START, SUCCESS)
    with transaction(steps.conn):
        webhooks.request_test(steps.conn, webhook.id, "lead.created", "{}", START)
    steps.resend(first, START)
    with transaction(steps.conn):
        claiming.claim(steps.conn, {webhook.id: 10}, START)
    assert deliveries.held_up_by(steps.conn, webhook.id) is None
