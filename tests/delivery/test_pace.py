"""How much a batch does: as much as fits into the time that others may be kept waiting."""

from __future__ import annotations

import pytest

from almirant_webhooks.delivery.pace import ALONE, BESIDE, GAP, LEAST, MOST, OTHERS, SELDOM, Pace

QUICK, SLOW = 0.00004, 0.0004  # seconds for an attempt


def _measured(each: float) -> Pace:
    pace = Pace()
    for _ in range(100):
        pace.took(0.0, 200 * each, 200)
    return pace


def test_a_batch_is_as_large_as_its_time_allows() -> None:
    """Half of it is what is recorded and half what begins; smaller on a slower machine, and within bounds."""
    assert _measured(SLOW).most(0.0) == pytest.approx(ALONE / SLOW / 2, abs=1)
    assert _measured(QUICK / 10).most(0.0) == MOST
    assert _measured(1.0).most(0.0) == LEAST


def test_batches_are_smaller_while_others_commit() -> None:
    """For a few seconds after each commit; a single one now and then makes none smaller."""
    pace = _measured(QUICK)
    alone = pace.most(100.0)
    pace.others_commit(100.0)
    assert pace.most(100.0) == alone
    pace.others_commit(100.0 + SELDOM / 2)
    assert pace.most(101.0) == pytest.approx(BESIDE / QUICK / 2, abs=1)
    assert pace.most(101.0) < alone
    assert pace.most(101.0 + OTHERS) == alone


def test_the_file_s_lock_is_left_between_batches_that_follow_each_other_while_others_commit() -> None:
    """SQLite lets nobody queue for it; before the first batch after a rest nobody waits."""
    pace = _measured(QUICK)
    pace.took(99.0, 100.0, 10)
    assert pace.gap(100.0) == 0.0
    for at in (100.0, 100.001):
        pace.others_commit(at)
    assert 0.0 < pace.gap(100.001) <= GAP
    assert pace.gap(100.0 + GAP) == 0.0


def test_a_small_batch_tells_nothing_of_what_an_attempt_costs() -> None:
    """Its commit is most of it."""
    pace = _measured(QUICK)
    before = pace.most(0.0)
    pace.took(0.0, 1.0, LEAST - 1)
    assert pace.most(0.0) == before
