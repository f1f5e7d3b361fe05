"""How much a batch does: as much as fits into the time that others may be kept waiting."""

from __future__ import annotations

import pytest

from almirant_webhooks.delivery.pace import (
    CLOSE,
    ENOUGH,
    ENOUGH_WAIT,
    FLOW_ENOUGH,
    FLOW_WAIT,
    LEAST,
    LEAST_AT_SERVER,
    LIMIT_ALONE,
    LIMIT_AT_SERVER,
    LIMIT_BESIDE_AT_SERVER,
    LIMIT_BESIDE_OTHERS,
    LIMIT_BESIDE_STEADY,
    MAX_GAP,
    MAX_WAIT,
    MOST,
    OTHERS_LAST,
    RARE,
    Pace,
)

QUICK, SLOW = 0.00004, 0.0004  # seconds for an attempt


def _measured(each: float) -> Pace:
    pace = Pace()
    for _ in range(100):
        pace.observe_batch(0.0, 200 * each, 200 * each, 200)
    return pace


def test_a_batch_is_as_large_as_its_time_allows() -> None:
    """Half of it is what is recorded and half what begins; smaller on a slower machine, and within bounds."""
    assert _measured(SLOW).limit(0.0) == pytest.approx(LIMIT_ALONE / SLOW / 2, abs=1)
    assert _measured(QUICK / 10).limit(0.0) == MOST
    assert _measured(1.0).limit(0.0) == LEAST


def test_batches_are_smaller_while_others_commit() -> None:
    """For a few seconds after each commit; a single one now and then makes none smaller."""
    pace = _measured(QUICK)
    alone = pace.limit(100.0)
    pace.note_foreign_commit(100.0)
    assert pace.limit(100.0) == alone
    pace.note_foreign_commit(100.0 + RARE / 2)
    assert pace.limit(101.0) == pytest.approx(LIMIT_BESIDE_OTHERS / QUICK / 2, abs=1)
    assert pace.limit(101.0) < alone
    assert pace.limit(101.0 + OTHERS_LAST) == alone


def test_batches_are_larger_while_every_look_finds_a_commit_of_others() -> None:
    """Producers that commit all the time get the lock less often from small batches; one that commits now and then does not count."""
    now_and_then, all_the_time = _measured(QUICK), _measured(QUICK)
    for number in range(100):
        at = 100.0 + number / 100
        now_and_then.note_look(at, changed=number % 2 == 0)
        all_the_time.note_look(at, changed=True)
    assert now_and_then.limit(101.0) == pytest.approx(LIMIT_BESIDE_OTHERS / QUICK / 2, abs=1)
    assert all_the_time.limit(101.0) == pytest.approx(LIMIT_BESIDE_STEADY / QUICK / 2, abs=1)
    for number in range(8):
        all_the_time.note_look(101.0 + number / 100, changed=False)
    assert all_the_time.limit(101.1) == pytest.approx(LIMIT_BESIDE_OTHERS / QUICK / 2, abs=1)


def test_rows_that_come_one_by_one_are_gathered_for_one_commit() -> None:
    """For a while after a batch, or until enough attempts have ended; what comes after a rest waits for nothing."""
    pace = Pace()
    pace.observe_batch(99.996, 99.998, 100.0, 10)
    enough, wait = pace.hold(100.001, 0, 5, flows=True, rests=False)
    assert (enough, round(wait, 6)) == (FLOW_ENOUGH, round(FLOW_WAIT - 0.001, 6))
    assert pace.hold(100.0 + 2 * FLOW_WAIT, 0, 0, flows=True, rests=False)[1] < 0.0


def test_a_row_that_comes_alone_waits_for_no_others() -> None:
    """Nor do results while there is something to read; else they wait a little for half of what is under way."""
    pace = Pace()
    pace.observe_batch(99.996, 99.998, 100.0, 10)
    assert pace.hold(100.001, 0, 5, flows=False, rests=False)[1] == 0.0
    assert pace.hold(100.001, 2, 5, flows=False, rests=False)[1] == 0.0
    enough, wait = pace.hold(100.001, 2, 5, flows=False, rests=True)
    assert (enough, round(wait, 6)) == (4, round(ENOUGH_WAIT - 0.001, 6))


def test_batches_are_smaller_at_a_server_too_while_producers_commit() -> None:
    """What they commit waits for the batch; the lock is left to nobody, as the server has a queue for it."""
    pace, slow = Pace(at_server=True), Pace(at_server=True)
    for _ in range(100):
        pace.observe_batch(99.0, 100.0, 100.0, 8000)
        slow.observe_batch(99.0, 100.0, 100.0, int(1 / SLOW))
    assert slow.limit(100.0) == pytest.approx(LIMIT_AT_SERVER / SLOW / 2, abs=1)
    for at in (100.0, 100.0 + RARE / 2):
        pace.note_look(at, changed=True)
        slow.note_look(at, changed=True)
    assert pace.limit(101.0) == pytest.approx(LIMIT_BESIDE_AT_SERVER * 8000 / 2, abs=1)
    assert slow.limit(101.0) == LEAST_AT_SERVER
    assert pace.gap(100.5) == 0.0
    assert slow.limit(101.0 + OTHERS_LAST) == pytest.approx(LIMIT_AT_SERVER / SLOW / 2, abs=1)


@pytest.mark.parametrize("at_server", [False, True])
def test_results_wait_longer_for_more_of_them_the_longer_a_batch_takes(at_server: bool) -> None:
    """Half of what the last one took, 3 ms at least and 10 at most: each batch has a commit, however small it is."""
    pace = Pace(at_server=at_server)
    for took, wait in ((0.002, ENOUGH_WAIT), (0.012, 0.006), (0.200, MAX_WAIT)):
        pace.observe_batch(100.0 - took, 100.0, 100.0, 10)
        enough, seconds = pace.hold(100.0, 1, 999, flows=False, rests=True)
        assert (enough, round(seconds, 6)) == (ENOUGH, wait)


def test_the_file_s_lock_is_left_between_batches_that_follow_each_other_while_others_commit() -> None:
    """For as long as the last one had it: SQLite lets nobody queue for it. Before the first batch after a rest nobody waits."""
    pace = _measured(QUICK)
    pace.observe_batch(99.996, 99.998, 100.0, 10)
    assert pace.gap(100.0) == 0.0
    for at in (100.0, 100.001):
        pace.note_foreign_commit(at)
    assert pace.gap(100.001) == pytest.approx(0.003)
    assert pace.gap(100.004) == 0.0
    pace.observe_batch(99.0, 99.9, 100.0, 10)
    assert pace.gap(100.0) == pytest.approx(MAX_GAP)


def test_what_is_committed_within_a_gap_is_read_at_once_and_once() -> None:
    """The rest of the gap is left to the others then, or as long as that batch had the lock. Those who commit often wait for its end."""
    pace = _measured(QUICK)
    for at in (99.0, 99.5):
        pace.note_foreign_commit(at)
    pace.observe_batch(99.992, 99.995, 100.0, 10)
    assert pace.gap(100.001) == pytest.approx(0.007)
    assert pace.may_be_brief
    pace.observe_batch(100.001, 100.002, 100.003, LEAST, is_brief=True)
    assert pace.gap(100.003) == pytest.approx(0.005)
    assert not pace.may_be_brief
    pace.observe_batch(99.915, 100.006, 100.015, LEAST, is_brief=True)
    assert pace.gap(100.015) == pytest.approx(0.010)
    pace.observe_batch(100.025, 100.026, 100.027, 10)
    assert pace.gap(100.027) == pytest.approx(0.002)
    assert pace.may_be_brief
    for number in range(5):
        pace.note_foreign_commit(101.0 + number * CLOSE / 2)
    assert not pace.may_be_brief
    for number in range(10):
        pace.note_foreign_commit(102.0 + number * CLOSE * 2)
    assert pace.may_be_brief


def test_a_brief_batch_tells_nothing_of_what_an_attempt_costs() -> None:
    """It is small, as any batch of one that waits for a lock may be."""
    pace = _measured(QUICK)
    before = pace.limit(100.0)
    pace.observe_batch(100.001, 100.021, 100.022, LEAST, is_brief=True)
    assert pace.limit(100.1) == before
    pace.observe_batch(100.101, 100.121, 100.122, LEAST)
    assert pace.limit(100.2) < before


def test_a_small_batch_tells_nothing_of_what_an_attempt_costs() -> None:
    """Its commit is most of it."""
    pace = _measured(QUICK)
    before = pace.limit(0.0)
    pace.observe_batch(0.0, 1.0, 1.0, LEAST - 1)
    assert pace.limit(0.0) == before
