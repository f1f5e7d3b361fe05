"""Three daemons on one database in PostgreSQL, and every order of their steps that hypothesis can think of."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ..support.postgres import programs
from . import sharing_bugs
from .machine.sharing import Daemons
from .test_steps import OPTIONS, SEARCH

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", "12"))  # a server answers each step

pytestmark = pytest.mark.slow


def test_whatever_the_order_of_steps_a_project_is_one_daemon_s_and_each_event_arrives() -> None:
    """Daemons are frozen, killed, stopped and wake up between any two of their steps."""
    programs()
    run_state_machine_as_test(Daemons, settings=settings(OPTIONS, max_examples=EXAMPLES))


@pytest.mark.parametrize(
    "bug",
    [
        sharing_bugs.has_no_fence,
        sharing_bugs.leaves_open_what_the_dead_had,
        sharing_bugs.takes_who_is_late_for_gone,
        sharing_bugs.sends_without_a_lease,
    ],
    ids=lambda bug: bug.__name__,
)
def test_that_finds_a_seeded_bug(bug: Callable[[pytest.MonkeyPatch], None]) -> None:
    """What finds nothing proves nothing."""
    programs()
    with pytest.MonkeyPatch.context() as patched:
        bug(patched)
        with pytest.raises(AssertionError):
            run_state_machine_as_test(Daemons, settings=SEARCH)
