"""What finds nothing proves nothing: each rule of the delivery loop is tested with a bug put in, and its test has to fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import pytest

from .. import test_daemon
from ..conftest import Receiver
from ..delivery import (
    test_commits,
    test_limited,
    test_loop,
    test_ordered,
    test_outbox_reader,
    test_rate_limits,
    test_scheduler,
    test_slots,
    test_wake_ups,
)
from ..storage import test_order, test_semantics, test_unread
from ..storage.conformance import test_delivery
from ..storage.conformance.engines import ENGINES
from ..support.service import Service
from ..support.steps import Steps
from . import loop_bugs

# Several bugs stand in how SQLite is read or told of commits.
pytestmark = pytest.mark.sqlite

Seed = Callable[[pytest.MonkeyPatch], None]
PLACES = (None, "outbox.db")  # of the outbox: in the database, and in a file of its own


@pytest.fixture(autouse=True)
def _stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no stop wait for an attempt that never ends."""
    stop = Service.stop

    async def stop_at_once(self: Service) -> None:
        assert self.daemon is not None
        for _ in range(2):  # asked twice, it waits for nothing that is in flight
            self.daemon.end("the test is over")
        await stop(self)

    monkeypatch.setattr(Service, "stop", stop_at_once)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come within half a second does not come: without a bug it takes a tenth of one."""
    monkeypatch.setattr(Service, "until", partialmethod(Service.until, within=0.5))


@pytest.fixture
def seed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a bug in."""
    request.param(monkeypatch)


def seeded(*seeds: Seed) -> pytest.MarkDecorator:
    """Run a test once with each bug."""
    return pytest.mark.parametrize("seed", seeds, indirect=True, ids=lambda bug: bug.__name__)


# A wake-up is lost


@seeded(loop_bugs.looks_before_it_says_that_it_rests)
def test_a_thread_that_looks_before_it_says_that_it_rests(seed: None) -> None:
    with pytest.raises(AssertionError):
        test_wake_ups.test_a_result_is_seen_by_the_thread_or_wakes_it_whenever_it_comes("going to rest")


@seeded(loop_bugs.looks_whether_to_wake_before_it_hands_over)
def test_a_hand_over_that_looks_too_early_whether_to_wake(seed: None) -> None:
    with pytest.raises(AssertionError):
        test_wake_ups.test_a_result_is_seen_by_the_thread_or_wakes_it_whenever_it_comes("handing over")


@pytest.mark.usefixtures("impatient")
@seeded(loop_bugs.wakes_nobody)
async def test_an_answer_that_wakes_nobody(
    seed: None, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = test_wake_ups.test_an_answer_that_comes_while_the_thread_goes_to_rest_is_not_slept_through
    with pytest.raises(TimeoutError):
        await rule(service, receiver, monkeypatch)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("outbox", PLACES)
@seeded(loop_bugs.rests_without_another_step, loop_bugs.takes_no_note_of_news)
async def test_a_commit_that_is_slept_through(
    seed: None, outbox: str | None, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.outbox = service.database.with_name(outbox) if outbox else None
    rule = test_wake_ups.test_a_commit_that_is_noticed_while_the_thread_goes_to_rest_is_not_slept_through
    with pytest.raises(TimeoutError):
        await rule(service, receiver, monkeypatch)


@pytest.mark.usefixtures("impatient")
@seeded(loop_bugs.rests_without_another_step)
async def test_an_enabling_that_is_slept_through(
    seed: None, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = test_wake_ups.test_a_webhook_that_is_enabled_while_the_thread_goes_to_rest_is_not_slept_through
    with pytest.raises(TimeoutError):
        await rule(service, receiver, monkeypatch)


# A request leaves before its commit


@seeded(loop_bugs.goes_before_the_commit)
async def test_a_request_that_is_made_while_its_batch_is_committed(
    seed: None, service: Service, receiver: Receiver
) -> None:
    with pytest.raises(AssertionError):
        await test_commits.test_no_request_is_made_while_its_batch_is_committed(service, receiver)


@seeded(loop_bugs.goes_before_the_commit, loop_bugs.goes_though_the_commit_failed)
async def test_a_request_of_which_the_database_does_not_know(seed: None, service: Service, receiver: Receiver) -> None:
    with pytest.raises(AssertionError):
        await test_commits.test_a_batch_whose_commit_fails_sends_nothing_and_loses_nothing(service, receiver)


# A row of the outbox is read twice


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("outbox", PLACES)
@seeded(loop_bugs.loses_marks)
async def test_a_row_whose_mark_is_lost(seed: None, outbox: str | None, service: Service, receiver: Receiver) -> None:
    service.outbox = service.database.with_name(outbox) if outbox else None
    with pytest.raises(TimeoutError):
        await test_loop.test_each_row_is_read_once(service, receiver)


@pytest.mark.usefixtures("impatient")
@seeded(loop_bugs.forgets_what_is_not_marked_yet)
async def test_a_row_that_is_read_again_while_its_mark_waits(
    seed: None, service: Service, receiver: Receiver, tmp_path: Path
) -> None:
    with pytest.raises(TimeoutError):
        await test_loop.test_rows_whose_marks_wait_are_not_read_again(service, receiver, tmp_path)


@seeded(loop_bugs.forgets_what_is_not_marked_yet)
def test_a_reader_that_asks_for_rows_whose_marks_wait(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_outbox_reader.test_rows_that_are_copied_and_not_marked_yet_are_not_read_again(steps)


@seeded(loop_bugs.reads_rows_that_are_apart)
def test_a_read_of_rows_that_are_apart(seed: None, steps: Steps) -> None:
    with pytest.raises((AssertionError, sqlite3.Error)):
        test_unread.test_rows_that_are_apart_are_not_read_again(steps)


# A project is starved


@seeded(loop_bugs.begins_at_the_first_project_again)
def test_a_reader_that_begins_at_the_first_project_each_time(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_outbox_reader.test_each_project_has_its_turn_however_many_there_are(steps)


@seeded(loop_bugs.reads_from_the_first_project_on)
def test_a_read_that_knows_no_turns(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_unread.test_the_next_turn_is_that_of_the_project_behind_the_last(steps)


@seeded(loop_bugs.reads_the_oldest_rows_of_all)
def test_a_read_of_the_oldest_rows_of_all(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_unread.test_a_project_that_inserts_very_much_at_once_is_in_front_of_nobody(steps)


@seeded(loop_bugs.reads_nothing_but_rows_of_those_with_few, loop_bugs.begins_with_those_with_few)
def test_a_reader_that_starves_those_with_many_rows(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_outbox_reader.test_no_project_is_starved_by_others_that_have_few_rows_or_many(steps, 2, 1)


@seeded(loop_bugs.goes_on_behind_those_with_few)
def test_a_reader_whose_turns_go_back(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_outbox_reader.test_no_project_is_starved_by_others_that_have_few_rows_or_many(steps, 2, 2)


@seeded(loop_bugs.has_nobody_leave_the_front, loop_bugs.keeps_the_first_place)
async def test_a_scheduler_in_which_nobody_leaves_the_front(seed: None, service: Service, receiver: Receiver) -> None:
    with pytest.raises(AssertionError):
        await test_loop.test_each_project_has_its_turn_however_many_deliveries_another_has_due(service, receiver)


@seeded(loop_bugs.has_nobody_leave_the_front, loop_bugs.keeps_the_first_place)
def test_a_project_of_many_webhooks_that_does_not_leave_the_front(seed: None) -> None:
    with pytest.raises(AssertionError):
        test_scheduler.test_a_project_with_many_busy_webhooks_is_one_among_the_others()


@seeded(loop_bugs.moves_a_project_in_one_half_alone)
def test_a_project_that_keeps_its_place_among_the_slow(seed: None) -> None:
    with pytest.raises(AssertionError):
        test_scheduler.test_a_turn_of_a_project_counts_for_its_slow_webhooks_too()


# A slot is never given back


@pytest.mark.usefixtures("impatient")
@seeded(loop_bugs.loses_interrupted_results, loop_bugs.gives_back_no_slot_of_interrupted_attempts)
async def test_a_slot_that_an_interrupted_attempt_keeps(
    seed: None, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = test_slots.test_a_fault_of_ours_between_the_beginning_and_the_end_of_a_request_keeps_no_slot
    with pytest.raises(TimeoutError):
        await rule(service, receiver, monkeypatch, "at its beginning", 0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("place", test_slots.PLACES)
@seeded(loop_bugs.lets_faults_of_ours_escape)
async def test_a_slot_that_a_fault_of_ours_keeps(
    seed: None, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    rule = test_slots.test_a_fault_of_ours_between_the_beginning_and_the_end_of_a_request_keeps_no_slot
    with pytest.raises(TimeoutError):
        await rule(service, receiver, monkeypatch, place, 0)


@pytest.mark.usefixtures("impatient")
@seeded(loop_bugs.gives_back_no_slot, loop_bugs.loses_a_result)
async def test_a_slot_that_an_answer_keeps(seed: None, service: Service, receiver: Receiver) -> None:
    with pytest.raises(TimeoutError):
        await test_daemon.test_one_slot_is_enough_for_all(service, receiver)


# More begins than a webhook takes


@pytest.mark.usefixtures("impatient")
@seeded(loop_bugs.fills_no_span)
async def test_a_restart_that_forgets_what_began(seed: None, service: Service, receiver: Receiver) -> None:
    with pytest.raises((AssertionError, TimeoutError)):
        await test_limited.test_what_began_before_a_restart_counts(service, receiver)


@pytest.mark.slow  # it waits in vain
@seeded(loop_bugs.counts_no_attempt_that_begins)
async def test_an_attempt_that_counts_in_no_limit(seed: None, service: Service, receiver: Receiver) -> None:
    with pytest.raises((AssertionError, TimeoutError)):
        await test_limited.test_a_burst_goes_up_to_the_limit_and_the_rest_waits(service, receiver)


@seeded(loop_bugs.keeps_a_webhook_without_a_place_in_line)
def test_a_webhook_that_is_never_told_of_its_next_place(seed: None) -> None:
    with pytest.raises(AssertionError):
        test_rate_limits.test_a_webhook_without_a_place_waits_for_one_and_wakes_nobody(test_rate_limits.proven())


@seeded(loop_bugs.believes_the_concurrency_that_it_has_heard_of)
def test_a_number_at_once_that_holds_after_it_was_taken_away(seed: None, tmp_path: Path) -> None:
    engine = ENGINES["SQLite, one file"](tmp_path)
    try:
        with pytest.raises(AssertionError):
            test_delivery.test_a_webhook_that_had_a_number_of_requests_at_once_gets_the_setting_s_again(engine)
    finally:
        engine.close()


# The order of an ordered webhook is broken


@seeded(loop_bugs.begins_beside_one_in_flight, loop_bugs.looks_beside_one_in_flight)
def test_a_second_delivery_beside_the_first(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_order.test_the_oldest_alone_is_claimed_and_the_next_one_after_its_end(steps)


@seeded(loop_bugs.has_new_ones_begin_beside_an_older_one)
def test_a_new_delivery_beside_an_older_one(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_order.test_a_new_delivery_begins_only_if_nothing_is_ahead_of_it(steps)


@seeded(loop_bugs.claims_by_due_time, loop_bugs.skips_a_head_in_retry)
def test_a_delivery_that_overtakes_one_in_retry(seed: None, steps: Steps) -> None:
    with pytest.raises((AssertionError, ValueError)):
        test_order.test_a_head_that_fails_waits_its_schedule_and_all_others_with_it(steps)


@seeded(loop_bugs.claims_by_due_time)
def test_a_delivery_that_overtakes_after_a_restart(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_order.test_after_a_crash_the_head_is_sent_again_before_all_others(steps)


@seeded(loop_bugs.begins_beside_one_in_flight)
async def test_a_receiver_that_sees_a_broken_order(seed: None, service: Service, receiver: Receiver) -> None:
    with pytest.raises(AssertionError):
        await test_ordered.test_a_receiver_that_fails_now_and_then_sees_each_event_in_order(service, receiver)


@pytest.mark.usefixtures("impatient")
@seeded(loop_bugs.lets_the_next_one_go_at_no_end)
async def test_a_resend_that_succeeds_and_lets_nothing_go(seed: None, service: Service, receiver: Receiver) -> None:
    with pytest.raises(TimeoutError):
        await test_ordered.test_a_head_that_waits_keeps_the_thread_at_rest(service, receiver)


# An outcome is recorded for another attempt


@seeded(loop_bugs.takes_the_attempts_in_the_order_of_their_beginning)
async def test_an_answer_that_is_recorded_for_another_delivery(
    seed: None, service: Service, receiver: Receiver
) -> None:
    with pytest.raises(AssertionError):
        await test_slots.test_each_answer_is_recorded_for_the_delivery_that_it_answers(service, receiver)


@pytest.mark.usefixtures("impatient")
@seeded(loop_bugs.takes_the_attempt_that_began_last)
async def test_answers_that_are_all_recorded_for_one_delivery(seed: None, service: Service, receiver: Receiver) -> None:
    with pytest.raises(TimeoutError):
        await test_slots.test_each_answer_is_recorded_for_the_delivery_that_it_answers(service, receiver)


@seeded(loop_bugs.records_by_the_delivery_alone)
def test_a_result_that_is_recorded_for_a_later_attempt(seed: None, steps: Steps) -> None:
    with pytest.raises(AssertionError):
        test_semantics.test_a_result_is_recorded_for_its_own_attempt_alone(steps)
