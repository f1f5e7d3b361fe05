"""How a resend of many goes, in a sentence."""

from __future__ import annotations

import pytest

from almirant_webhooks.rules.resending import progress


@pytest.mark.parametrize(
    ("state", "counts", "words"),
    [
        ("finished", (6, 6, 0, 6), "Finished: all 6 failed."),
        ("finished", (6, 6, 6, 0), "Finished: all 6 succeeded."),
        ("finished", (6, 6, 5, 1), "Finished: 5 succeeded, 1 failed."),
        ("finished", (1, 1, 0, 1), "Finished: 1 failed."),
        (
            "running",
            (1200, 400, 350, 10),
            "400 of 1,200 asked for: 350 succeeded, 10 failed, 40 wait or are under way.",
        ),
        ("running", (6, 0, 0, 0), "0 of 6 asked for."),
        ("cancelled", (6, 3, 2, 1), "Cancelled: 2 succeeded, 1 failed, 3 were not sent again."),
        ("cancelled", (3, 0, 0, 0), "Cancelled: 3 were not sent again."),
    ],
)
def test_a_resend_says_how_its_deliveries_went(state: str, counts: tuple[int, int, int, int], words: str) -> None:
    """Not only that it is over: six attempts that all failed are no success."""
    matched, requested, succeeded, failed = counts
    said = progress(
        is_replay=False,
        state=state,
        matched=matched,
        requested=requested,
        succeeded=succeeded,
        failed=failed,
    )
    assert said == words


def test_a_replay_s_deliveries_may_be_tried_again_after_its_end() -> None:
    """It is over once all are made."""
    said = progress(is_replay=True, state="finished", matched=10, requested=10, succeeded=7, failed=1)
    assert said == "Finished: 7 succeeded, 1 failed, 2 wait or are under way."
