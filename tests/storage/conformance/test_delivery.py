"""`DeliveryStore`: what the delivery loop may count on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from almirant_webhooks.model import Claim, Due, Misconfigured, Outcome, Result
from almirant_webhooks.rules.rates import Rate
from almirant_webhooks.rules.selection import EventSelection
from almirant_webhooks.storage.engine import BEGIN, Damaged, LastEnd, Moved, ReadPlan, Start, Work, is_beyond_repair

from .engines import SCHEDULE, START, Engine, text

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def test_a_transaction_that_raises_has_changed_nothing(engine: Engine) -> None:
    """Neither a claim nor an event: both are there for the next one."""
    webhook = engine.webhook()
    engine.insert()
    engine.take()
    engine.insert()
    work = engine.read(ReadPlan(10))

    def write_and_fail() -> None:
        with engine.deliveries.transaction(engine.session):
            written = engine.deliveries.write(engine.session, Work(starts={webhook.id: 1}, **work), SCHEDULE, START)
            assert (len(written.begun), written.fan_out is not None) == (1, True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert engine.answers() == [(True, None), (False, None)]
    assert len(engine.claim(webhook)) == 1
    assert engine.take().events == 1


def test_an_event_is_taken_once_however_often_its_row_is_read(engine: Engine) -> None:
    """A crash before the mark is harmless."""
    engine.webhook()
    engine.insert()
    work = engine.read(ReadPlan(10))
    first = engine.batch(**work).fan_out
    again = engine.batch(**work).fan_out
    assert first is not None
    assert (first.events, first.deliveries) == (1, 1)
    assert again is None or (again.events, again.deliveries, again.duplicates) == (0, 0, 1)
    assert engine.take().events == 0
    assert engine.answers() == [(True, None)]


def test_a_delivery_that_was_claimed_is_not_claimed_again(engine: Engine) -> None:
    """Until its attempt has ended; then the schedule says when."""
    webhook = engine.webhook()
    engine.insert()
    engine.take()
    (claim,) = engine.claim(webhook)
    assert engine.claim(webhook) == []
    assert engine.due(webhook) is None
    engine.record([claim], Outcome.HTTP_ERROR)
    assert engine.due(webhook) == text(START + SCHEDULE.waits[1])
    assert engine.claim(webhook) == []
    (second,) = engine.claim(webhook, START + SCHEDULE.waits[1])
    assert (second.delivery_id, second.number) == (claim.delivery_id, 2)


def test_no_more_is_claimed_than_was_wanted(engine: Engine) -> None:
    """Of each webhook, the oldest first."""
    webhook, other = engine.webhook(), engine.webhook(url="https://example.com/other")
    for _ in range(3):
        engine.insert()
        engine.take()
    written = engine.batch(starts={webhook.id: 2, other.id: 1})
    assert [claim.webhook_id for claim in written.begun] == [webhook.id, webhook.id, other.id]
    assert written.due.keys() == {webhook.id, other.id} == written.touched


def test_a_result_is_recorded_once(engine: Engine) -> None:
    """The second is dropped, and says so."""
    webhook = engine.webhook()
    engine.insert()
    engine.take()
    claims = engine.claim(webhook)
    assert engine.record(claims, Outcome.SUCCESS).dropped == 0
    assert engine.record(claims, Outcome.HTTP_ERROR).dropped == 1
    assert engine.attempts() == [(1, "success")]
    assert engine.due(webhook) is None


def test_a_new_delivery_begins_where_it_is_given_a_slot(engine: Engine) -> None:
    """In the transaction that takes its event; the others are due."""
    first, second = engine.webhook(), engine.webhook(url="https://example.com/other")
    engine.insert()
    written = engine.batch(**engine.read(ReadPlan(10)), take_slot=lambda webhook, served: webhook == first.id)
    assert [claim.webhook_id for claim in written.begun] == [first.id]
    assert engine.due(first) is None
    assert engine.due(second) == text(START)
    assert len(engine.claim(second)) == 1


def test_no_more_begins_than_a_webhook_wants_at_once(engine: Engine) -> None:
    """Beside what is in flight, of what is due and of what is new together, whatever is wanted; it says so with what is due."""
    webhook = engine.webhook(options={"concurrency": 3})
    for _ in range(2):
        engine.insert()
    engine.take()
    for _ in range(4):
        engine.insert()
    work = {"starts": {webhook.id: 10}, "take_slot": lambda webhook, served: True, **engine.read(ReadPlan(10))}
    assert len(engine.batch(**work, in_flight={webhook.id: 3}).begun) == 0
    engine.insert()
    work |= engine.read(ReadPlan(10))
    written = engine.batch(**work)
    assert (len(written.begun), written.due[webhook.id].concurrency) == (3, 3)
    assert engine.batch(**work, in_flight={webhook.id: 3}).begun == []
    assert len(engine.batch(**work, in_flight={webhook.id: 2}).begun) == 1


def test_a_webhook_that_had_a_number_of_requests_at_once_gets_the_setting_s_again(engine: Engine) -> None:
    """From the first transaction after it was taken away, of what is due and of what is new."""
    webhook = engine.webhook()
    for _ in range(4):
        engine.insert()
    engine.take()
    heard: dict[str, Any] = {"concurrency": {webhook.id: 20}, "per_webhook": 3, "in_flight": {webhook.id: 1}}
    assert len(engine.batch(starts={webhook.id: 10}, **heard).begun) == 2
    other = engine.webhook(url="https://example.com/other")
    for _ in range(4):
        engine.insert()
    heard |= {"concurrency": {other.id: 20}, "in_flight": {other.id: 1}}
    written = engine.batch(take_slot=lambda webhook, served: webhook == other.id, **heard, **engine.read(ReadPlan(10)))
    assert [claim.webhook_id for claim in written.begun] == [other.id] * 2


def test_no_more_begins_than_a_rate_limit_has_places(engine: Engine) -> None:
    """By the limit as the transaction reads it, of what is due and of what is new together; the answers say the limit."""
    webhook = engine.webhook(options={"rate_limit": "10/m"})
    for _ in range(2):
        engine.insert()
    engine.take()
    for _ in range(4):
        engine.insert()
    work = {"starts": {webhook.id: 10}, "take_slot": lambda webhook, served: True, **engine.read(ReadPlan(10))}
    assert engine.batch(**work, places=lambda webhook, limit: 0 if limit == "10/m" else 9).begun == []
    for _ in range(4):
        engine.insert()
    work |= engine.read(ReadPlan(10))
    written = engine.batch(**work, places=lambda webhook, limit: 4 if limit == "10/m" else 9)
    assert len(written.begun) == 4
    assert all(claim.limited for claim in written.begun)
    assert written.due[webhook.id].rate_limit == "10/m"
    assert written.fan_out is not None
    assert written.fan_out.rate_limits == {webhook.id: "10/m"}
    other = engine.webhook(url="https://example.com/other")
    engine.insert()
    assert not any(claim.limited for claim in engine.batch(**engine.read(ReadPlan(10)), starts={other.id: 5}).begun)


def test_a_test_goes_first_where_a_rate_limit_has_no_place(engine: Engine) -> None:
    """Before any number of resends that wait, and it counts in no limit; what waits is said with what is due."""
    webhook = engine.webhook(options={"rate_limit": "1/h"})
    for _ in range(3):
        engine.insert()
    engine.take()
    claims = engine.batch(starts={webhook.id: 3}, places=lambda webhook, limit: 3).begun
    engine.record(claims, Outcome.SUCCESS)
    for claim in claims:
        engine.resend(claim.delivery_id)
    assert engine.due_of(webhook) == Due("", "p", None, "1/h", test=False)
    test = engine.test(webhook)
    assert engine.due_of(webhook) == Due("", "p", None, "1/h", test=True)
    (claim,) = engine.claim(webhook)
    assert (claim.delivery_id, claim.test, claim.limited) == (test, True, False)
    assert engine.claim(webhook) == []
    assert [claim.test for claim in engine.batch(starts={webhook.id: 9}, places=lambda webhook, limit: 2).begun] == [
        False,
        False,
    ]


def test_a_disabled_webhook_with_a_rate_limit_gets_its_tests(engine: Engine) -> None:
    webhook = engine.webhook(options={"rate_limit": "1/h"})
    engine.disable(webhook)
    test = engine.test(webhook)
    assert engine.due_of(webhook) == Due("", "p", None, "1/h", test=True)
    assert [claim.delivery_id for claim in engine.claim(webhook)] == [test]
    assert engine.due_of(webhook) is None


def test_what_began_within_the_span_of_a_limit_is_found_again(engine: Engine) -> None:
    """What has ended, what is in flight and what a crash left open; resends too, and no test."""
    webhook = engine.webhook(options={"rate_limit": "10/m"})
    other = engine.webhook(url="https://example.com/other", options={"rate_limit": "10/m"})
    limits = {webhook.id: Rate(10, 60), other.id: Rate(10, 60)}
    none: dict[str, list[Start]] = {webhook.id: [], other.id: []}
    assert engine.deliveries.recent_starts(engine.session, limits, START) == none

    def begin(at: datetime) -> list[Claim]:
        return engine.batch(at, starts={webhook.id: 9}, places=lambda webhook, limit: 9).begun

    engine.insert()
    engine.take()
    old = begin(START)
    engine.record(old, Outcome.SUCCESS, START + SECOND)
    engine.resend(old[0].delivery_id)
    engine.record(begin(START + 30 * SECOND), Outcome.TIMEOUT, START + 31 * SECOND)
    engine.insert()
    engine.take()
    (left_open,) = begin(START + 40 * SECOND)
    engine.test(webhook)
    engine.record(begin(START + 41 * SECOND), Outcome.SUCCESS, START + 42 * SECOND)

    def found(after: timedelta) -> list[Start]:
        return sorted(engine.deliveries.recent_starts(engine.session, limits, START + after)[webhook.id])

    three = [Start(text(START + after * SECOND), 1) for after in (0, 30, 40)]
    assert found(59 * SECOND) == three
    assert found(62 * SECOND) == three[1:]
    with engine.deliveries.transaction(engine.session):
        engine.deliveries.interrupt_open(engine.session, SCHEDULE, START + 50 * SECOND)
    assert found(62 * SECOND) == three[1:]
    assert found(102 * SECOND) == []
    assert left_open.limited


def test_what_began_before_a_limit_was_set_counts_in_it(engine: Engine) -> None:
    """What has ended and what is in flight; of as many as the limit has, the newest."""
    webhook = engine.webhook()
    for _ in range(5):
        engine.insert()
    engine.take()
    engine.record(engine.claim(webhook, START, 3), Outcome.SUCCESS)
    engine.claim(webhook, START, 1)
    engine.update(webhook, {"rate_limit": "2/m"}, START + SECOND)
    starts = engine.deliveries.recent_starts(engine.session, {webhook.id: Rate(2, 60)}, START + SECOND)
    assert sum(start.attempts for start in starts[webhook.id]) == 4
    (claim,) = engine.batch(START + SECOND, starts={webhook.id: 9}, places=lambda webhook, limit: 1).begun
    engine.record([claim], Outcome.SUCCESS)
    starts = engine.deliveries.recent_starts(engine.session, {webhook.id: Rate(9, 3600)}, START + 2 * SECOND)
    assert sum(start.attempts for start in starts[webhook.id]) == 5


def test_an_event_that_a_filter_holds_back_has_a_verdict_and_no_delivery(engine: Engine) -> None:
    """With the condition of that moment; the webhook has nothing due."""
    filter_ = [{"field": "data.n", "op": ">", "value": 5}]
    webhook = engine.webhook(options={"filter": filter_})
    engine.insert(payload='{"n": 5}')
    taken = engine.take()
    assert (taken.events, taken.deliveries, taken.filtered_out, taken.unmatched) == (1, 0, 1, 0)
    assert engine.due(webhook) is None
    (event,) = engine.reading.log.newest_events(engine.session, EventSelection(), limit=10)
    (outcome,) = engine.reading.log.event(engine.session, event["event_id"], None)["outcomes"]
    assert (outcome["outcome"], outcome["condition"]) == ("filtered out", "data.n > 5")
    assert engine.reading.webhooks.get(engine.session, webhook.id).filter == filter_
    engine.insert(payload='{"n": 5.5}')
    assert engine.take().deliveries == 1


def test_an_ordered_webhook_has_one_at_a_time_in_the_order_of_its_events(engine: Engine) -> None:
    """Of what is due and of what is new; the batch that records an end says that the next one is due."""
    webhook = engine.webhook(options={"ordered": True})
    for _ in range(3):
        engine.insert()
    work: dict[str, Any] = {"starts": {webhook.id: 10}, "take_slot": lambda webhook, served: True}
    (first,) = engine.batch(**work, **engine.read(ReadPlan(10))).begun
    assert engine.due(webhook) is None
    engine.insert()
    assert engine.batch(**work, **engine.read(ReadPlan(10)), in_flight={webhook.id: 1}).begun == []
    failed = engine.record([first], Outcome.HTTP_ERROR)
    assert failed.due[webhook.id].at == text(START + SCHEDULE.waits[1])
    assert engine.batch(**work).begun == []
    (again,) = engine.claim(webhook, START + HOUR)
    assert again.delivery_id == first.delivery_id
    ended = engine.record([again], Outcome.SUCCESS)
    assert ended.due[webhook.id] == Due(text(START), "p", 2)
    (second,) = engine.claim(webhook, START + HOUR)
    assert second.delivery_id != first.delivery_id
    assert engine.batch(results=[Result(second, Outcome.SUCCESS, START, 5)], starts={webhook.id: 10}).begun


def test_a_write_without_work_proves_that_it_can_be_written(engine: Engine) -> None:
    """Nothing is changed by it."""
    written = engine.batch()
    assert (written.begun, written.fan_out, written.touched) == ([], None, set())


def test_revision_is_another_one_once_a_webhook_has_changed(engine: Engine) -> None:
    """And the one that a batch returns is that of its transaction."""
    before = engine.deliveries.revision(engine.session)
    webhook = engine.webhook()
    changed = engine.deliveries.revision(engine.session)
    assert changed != before
    assert engine.batch().revision == changed
    engine.delete(webhook)
    assert engine.deliveries.revision(engine.session) != changed


def test_changes_is_another_one_once_another_session_has_committed(engine: Engine) -> None:
    """And not for what this one commits."""
    before = engine.deliveries.changes(engine.session)
    engine.batch()
    assert engine.deliveries.changes(engine.session) == before
    engine.webhook()
    assert engine.deliveries.changes(engine.session) != before


def test_what_is_due_is_read_webhook_by_webhook(engine: Engine) -> None:
    """In the order of their ids, each once, those with nothing due without a time."""
    ids = sorted(engine.webhook(url=f"https://example.com/{number}").id for number in range(5))
    engine.insert()
    engine.take()
    silent = engine.webhook(project_id="q").id
    after = ""
    read: list[str] = []
    due: dict[str, Due] = {}
    while True:
        asked, more = engine.deliveries.first_due_after(engine.session, after, 2)
        read += asked
        due |= more
        if len(asked) < 2:
            break
        after = asked[-1]
    assert read == sorted([*ids, silent])
    assert due.keys() == set(ids)
    assert {(at.at, at.project_id) for at in due.values()} == {(text(START), "p")}


def test_attempts_that_nobody_makes_any_more_are_recorded_as_interrupted(engine: Engine) -> None:
    """Once; the delivery is due again, and a result that comes after that is dropped."""
    webhook = engine.webhook()
    engine.insert()
    engine.take()
    claims = engine.claim(webhook)
    for expected in (1, 0):
        with engine.deliveries.transaction(engine.session):
            assert engine.deliveries.interrupt_open(engine.session, SCHEDULE, START + HOUR) == expected
    assert engine.record(claims, Outcome.SUCCESS).dropped == 1
    assert engine.attempts() == [(1, "interrupted")]
    (again,) = engine.claim(webhook, START + HOUR)
    assert again.number == 2


def test_a_daemon_that_shares_with_nobody_owns_all(engine: Engine) -> None:
    """It is asked of no project, and has nothing to take or to give."""
    assert engine.deliveries.owns is None
    engine.deliveries.leave()
    assert engine.deliveries.settle(engine.session, SCHEDULE, START) is None


def test_an_event_that_was_deleted_by_hand_ends_its_delivery_and_no_other(engine: Engine) -> None:
    """Each of the others begins with its own body; what was in flight at a crash ends at the next start all the same."""
    webhook = engine.webhook()
    for _ in range(4):
        engine.insert()
        engine.take()
    engine.claim(webhook, count=1)
    gone = [engine.delete_event(number) for number in (1, 2)]
    with engine.deliveries.transaction(engine.session):
        assert engine.deliveries.interrupt_open(engine.session, SCHEDULE, START) == 1
    written = engine.batch(starts={webhook.id: 10})
    assert (len(written.begun), len(written.gone)) == (2, 2)
    assert all(f'"{claim.event_id}"' in claim.body.decode() for claim in written.begun)
    assert not {claim.event_id for claim in written.begun} & set(gone)
    assert engine.due(webhook) is None


def test_the_last_end_of_each_webhook_is_told(engine: Engine) -> None:
    """Not the interrupted ones: they tell nothing of a receiver."""
    webhook, other = engine.webhook(), engine.webhook(url="https://example.com/other")
    engine.insert()
    engine.take()
    engine.record(engine.claim(webhook), Outcome.HTTP_ERROR)
    engine.record(engine.claim(webhook, START + HOUR), Outcome.TIMEOUT, START + HOUR)
    engine.record(engine.claim(other), Outcome.INTERRUPTED)
    assert list(engine.deliveries.last_ends(engine.session)) == [LastEnd(webhook.id, True, 5)]


def test_waits_become_shorter_when_the_clock_is_set_back_and_never_longer(engine: Engine) -> None:
    """A step at a time, each wait once, however often the last step is taken again."""
    webhook = engine.webhook()
    engine.insert()
    engine.take()
    engine.record(engine.claim(webhook), Outcome.HTTP_ERROR)
    due = START + SCHEDULE.waits[1]
    assert not engine.deliveries.has_later_times(engine.session, START)
    assert engine.deliveries.has_later_times(engine.session, START - HOUR)
    with engine.deliveries.transaction(engine.session):
        moved = engine.deliveries.shift_due(engine.session, HOUR, START - HOUR, BEGIN)
    assert moved == Moved(1, None)
    assert engine.due(webhook) == text(due - HOUR)
    for shorter in (1, 0):
        with engine.deliveries.transaction(engine.session):
            now = START - 2 * HOUR
            assert engine.deliveries.shorten(engine.session, SCHEDULE.waits, now, BEGIN) == Moved(shorter, None)
        assert engine.due(webhook) == text(now + SCHEDULE.waits[1])


def test_tables_that_are_not_ours_are_beyond_repair(engine: Engine) -> None:
    """With a sentence that a restart cannot mend it."""
    engine.drop_tables()
    with pytest.raises(Damaged) as raised:
        engine.batch()
    assert is_beyond_repair(raised.value)
    assert isinstance(raised.value.explained("the database"), Misconfigured)
    assert "the database" in str(raised.value.explained("the database"))
