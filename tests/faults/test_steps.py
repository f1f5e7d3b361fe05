"""A kill between any two steps: every order of steps that hypothesis can think of, on real files.

The model beside them is what a producer, a receiver and an admin know. The contract's invariants are held after every
step, and each seeded bug has to be found by them.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    run_state_machine_as_test,
)

from . import loop_bugs
from .machine import seeded_attempts, seeded_events
from .machine.invariants import Machine

OPTIONS = settings(
    max_examples=int(os.environ.get("FAULTS_EXAMPLES", "60")),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    database=None,
)
# For a seeded bug: it stops at the first failure. Each bug is found within 50 examples, as a rule within ten.
SEARCH = settings(OPTIONS, max_examples=2000, phases=[Phase.generate])


TestMachine = pytest.mark.slow(Machine.TestCase)
TestMachine.settings = OPTIONS


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeded",
    [
        seeded_events.RewritesVerdicts,
        seeded_events.FiltersLate,
        seeded_events.ByWatermark,
        seeded_attempts.ClaimedTooLate,
        seeded_attempts.RecordedTwice,
        seeded_events.MarkedBeforeTaken,
        seeded_attempts.ForgottenAtACrash,
        seeded_attempts.BelievesTheClock,
        seeded_events.ForgetsTheStep,
        seeded_attempts.FailsInSpiteOfASuccess,
        seeded_attempts.GoesOnAfterEnabling,
        seeded_attempts.ForgetsItsSpans,
        seeded_attempts.HearsOfALimitLate,
    ],
    ids=lambda it: it.__name__,
)
def test_the_invariants_find_a_seeded_bug(seeded: type[Machine]) -> None:
    """What finds nothing proves nothing."""
    with pytest.raises(AssertionError):
        run_state_machine_as_test(seeded, settings=SEARCH)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug",
    [
        loop_bugs.begins_beside_one_in_flight,
        loop_bugs.claims_by_due_time,
        loop_bugs.skips_a_head_in_retry,
        loop_bugs.has_new_ones_begin_beside_an_older_one,
        loop_bugs.looks_beside_one_in_flight,
    ],
    ids=lambda it: it.__name__,
)
def test_the_invariants_find_a_broken_order(bug: Callable[[pytest.MonkeyPatch], None]) -> None:
    """The machine that knows ordered webhooks, on code that does not keep their order."""
    with pytest.MonkeyPatch.context() as patched:
        bug(patched)
        with pytest.raises(AssertionError):
            run_state_machine_as_test(seeded_events.InOrder, settings=SEARCH)
