"""What became of a delivery, in sentences."""

from __future__ import annotations

from datetime import timedelta

import pytest

from almirant_webhooks.model import Outcome, State, Trigger
from almirant_webhooks.rules import values
from almirant_webhooks.rules.endings import ending
from almirant_webhooks.rules.outcomes import Attempt, DeliveryFacts, following, outcome, steps
from almirant_webhooks.rules.sentences import At, DeliveryId

from ..support.sentences import marked

NINE, TEN = "2026-11-23T09:00:00.000Z", "2026-11-23T10:00:00.000Z"


def _attempt(number: int, code: int | None = 503, **more: object) -> Attempt:
    good = code is not None and 200 <= code < 300
    attempt: Attempt = {
        "number": number,
        "trigger": Trigger.SCHEDULED,
        "started_at": NINE,
        "duration_ms": 84,
        "outcome": Outcome.SUCCESS if good else Outcome.HTTP_ERROR,
        "status": str(code),
        "status_code": code,
        "cause": None if good else f"the receiver answered {code}",
        "url": "https://ci.acme.dev/in",
        "request_headers": (),
        "response_headers": (),
        "response_body": "" if good else '{"error": "build queue is full"}',
        "body_cut": False,
        "response_body_is_text": True,
        "response_body_note": None,
    }
    return {**attempt, **more}  # type: ignore[typeddict-item]


def _delivery(state: State, *attempts: Attempt, **more: object) -> DeliveryFacts:
    finished = sum(attempt["outcome"] is not None for attempt in attempts)
    delivery: DeliveryFacts = {
        "state": state,
        "test": False,
        "held": 0,
        "attempts": finished,
        "tries": finished,
        "next_attempt_at": None,
        "waits_for": None,
        "failed_reason": None,
        "erased_at": None,
        "cancelled_reason": None,
        "resend_requested_at": None,
        "attempt_list": list(attempts),
    }
    return {**delivery, **more}  # type: ignore[typeddict-item]


OPEN = {"outcome": None, "status": None, "status_code": None, "duration_ms": None, "cause": None}
RESEND = _attempt(6, None, trigger=Trigger.MANUAL, **OPEN)


@pytest.mark.parametrize(
    ("delivery", "words"),
    [
        (_delivery(State.SUCCEEDED, _attempt(1, 200)), "Delivered: ci.acme.dev answered 200 in 84 ms."),
        (
            _delivery(State.SUCCEEDED, _attempt(1), _attempt(2, 204)),
            "Delivered at attempt 2: ci.acme.dev answered 204 in 84 ms.",
        ),
        (
            _delivery(State.SUCCEEDED, _attempt(1, 200), _attempt(2, trigger=Trigger.MANUAL)),
            "Delivered: ci.acme.dev answered 200 in 84 ms.",
        ),
        (
            _delivery(State.FAILED, *(_attempt(number) for number in range(1, 6))),
            "Given up after 5 attempts: ci.acme.dev answered 503: build queue is full.",
        ),
        (
            _delivery(State.FAILED, *(_attempt(number) for number in range(1, 6)), RESEND),
            "Given up after 5 attempts: ci.acme.dev answered 503: build queue is full. Attempt 6 is under way.",
        ),
        (
            _delivery(State.FAILED, _attempt(1), resend_requested_at=TEN),
            "Given up after 1 attempt: ci.acme.dev answered 503: build queue is full. A resend waits.",
        ),
        (
            _delivery(State.PENDING, _attempt(1), next_attempt_at=TEN),
            "Attempt 1 of 5 failed: ci.acme.dev answered 503: build queue is full. "
            f"The next attempt (2 of 5) is planned for {TEN}.",
        ),
        (
            _delivery(State.PENDING, _attempt(1, None, outcome=Outcome.TIMEOUT, cause="no answer within 10 s")),
            "Attempt 1 of 5 failed: ci.acme.dev did not answer in time: no answer within 10 s.",
        ),
        (
            _delivery(State.PENDING, _attempt(1), _attempt(2, trigger=Trigger.MANUAL), tries=1),
            "A resend failed: ci.acme.dev answered 503: build queue is full.",
        ),
        (_delivery(State.PENDING, _attempt(1, None, **OPEN)), "The first attempt is under way."),
        (
            _delivery(State.PENDING, next_attempt_at=TEN),
            f"Waits for its first attempt. The next attempt (1 of 5) is planned for {TEN}.",
        ),
        (
            _delivery(State.PENDING, held=1, next_attempt_at=TEN),
            "Waits for its first attempt. It is held, since its webhook is off, and goes on when that is enabled.",
        ),
        (_delivery(State.CANCELLED, cancelled_reason="held for too long"), "Cancelled: held for too long."),
        (_delivery(State.FAILED, failed_reason="the template makes no JSON"), "Not sent: the template makes no JSON."),
        (
            _delivery(State.FAILED, _attempt(1), test=True),
            "The test failed: ci.acme.dev answered 503: build queue is full. A test has one attempt.",
        ),
    ],
)
def test_the_first_sentence_says_what_became_of_it_and_the_next_what_comes(delivery: DeliveryFacts, words: str) -> None:
    """In the receiver's own words; "1 of 5" is not said of what succeeded at once."""
    assert " ".join(outcome(delivery, 5)) == words


def test_what_waits_by_its_order_names_the_delivery_that_it_waits_for() -> None:
    """Which pages link; what is held or has ended waits for none."""
    ahead = {"delivery_id": "dlv_7", "attempt": 2, "in_flight": False, "next_attempt_at": TEN}
    waiting = _delivery(State.PENDING, waits_for=ahead, next_attempt_at=NINE)
    sentence = following(waiting, 5)
    assert sentence is not None
    assert (
        sentence
        == f"The next attempt (1 of 5) waits for dlv_7 (attempt 2 of 5 at {TEN}), as its webhook sends one after the other."
    )
    assert [part for part in marked(sentence) if isinstance(part, DeliveryId)] == ["dlv_7"]
    assert following(_delivery(State.SUCCEEDED, _attempt(1, 200)), 5) is None
    assert following(_delivery(State.PENDING, held=1, next_attempt_at=TEN), 5) is None
    planned = following(_delivery(State.PENDING, next_attempt_at=TEN), 5)
    assert planned is not None
    assert [part for part in marked(planned) if isinstance(part, At)] == [TEN]


def test_between_two_attempts_stands_how_long_was_waited() -> None:
    """From the end of the one to the beginning of the next; a clock that was set back makes it nothing."""
    found = steps(
        [
            _attempt(1, duration_ms=1000),
            _attempt(2, started_at="2026-11-23T09:01:01.000Z", duration_ms=None),
            _attempt(3, started_at="2026-11-23T09:00:30.000Z"),
        ]
    )
    assert [step.waited for step in found] == [None, timedelta(minutes=1), timedelta(0)]
    assert steps([]) == []
    later = [step.waited for step in steps([found[1].attempt], found[0].attempt)]
    assert later == [timedelta(minutes=1)], "the one before is not among those that are shown"


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("now", [True, False])
def test_every_outcome_has_its_words(outcome: Outcome, now: bool) -> None:
    """As a sentence that names the receiver; and people select by it, where it is more than a status of HTTP."""
    assert "ci.acme.dev" in ending("https://ci.acme.dev/in", outcome, 200, None, "", now=now)
    is_selected = outcome not in (Outcome.SUCCESS, Outcome.HTTP_ERROR)
    assert (outcome.replace("_", " ") in values.WORDS) == is_selected
