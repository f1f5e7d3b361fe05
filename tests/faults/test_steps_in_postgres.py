"""The steps of `test_steps` once more, with everything in PostgreSQL."""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ..support.postgres import programs
from ..support.postgres_steps import PostgresSteps
from .machine import seeded_attempts, seeded_events
from .machine.invariants import Machine
from .test_steps import OPTIONS, SEARCH

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", "6"))  # a server answers each step

pytestmark = [pytest.mark.slow, pytest.mark.postgres_engine]


def in_postgres(machine: type[Machine]) -> type[Machine]:
    """Return a machine whose database is in PostgreSQL."""
    programs()
    return type(machine.__name__, (machine,), {"made_in": staticmethod(PostgresSteps)})


def test_whatever_the_order_of_steps_the_invariants_hold() -> None:
    """As they do on files."""
    run_state_machine_as_test(
        in_postgres(Machine), settings=settings(OPTIONS, max_examples=EXAMPLES, phases=[Phase.generate])
    )


@pytest.mark.parametrize(
    "seeded",
    [
        seeded_events.ByWatermark,
        seeded_events.MarkedBeforeTaken,
        seeded_events.ForgetsTheStep,
        seeded_attempts.ClaimedTooLate,
        seeded_attempts.RecordedTwice,
        seeded_attempts.ForgottenAtACrash,
        seeded_attempts.HearsOfALimitLate,
    ],
    ids=lambda it: it.__name__,
)
def test_the_invariants_find_a_seeded_bug(seeded: type[Machine]) -> None:
    """What finds nothing proves nothing."""
    machine = in_postgres(seeded)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=SEARCH)
