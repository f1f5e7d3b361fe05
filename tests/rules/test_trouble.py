"""What is wrong with a webhook, in sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from almirant_webhooks.model import Ahead, Health, Outcome, Webhook
from almirant_webhooks.rules.sentences import At, DeliveryId
from almirant_webhooks.rules.trouble import MOST_WAITING, LastFailure, Said, Trouble, cause, said

from ..support.sentences import marked

BEFORE, NOON, LATER = "2026-11-23T11:55:00.000Z", "2026-11-23T12:00:00.000Z", "2026-11-23T12:05:00.000Z"
WEBHOOK = Webhook(
    id="wh_1", project_id="p", url="https://ci.acme.dev/in", description="", events=("*",), filter=None, concurrency=None,
    headers=None, rate_limit=None, template=None, ordered=False, enabled=True, disabled_at=None, disabled_reason=None,
    created_at=NOON, updated_at=NOON,
)  # fmt: skip
OFF = replace(WEBHOOK, enabled=False, disabled_at=NOON)
FAILURE: LastFailure = {
    "delivery_id": "dlv_1",
    "started_at": LATER,
    "outcome": Outcome.HTTP_ERROR,
    "status_code": 503,
    "cause": "the receiver answered 503",
    "url": "https://ci.acme.dev/in",
    "answer": '{"error": "build queue is full."}',
}
WELL: Trouble = {
    "health": Health.WELL,
    "since": None,
    "made_since": None,
    "failures_in_a_row": 0,
    "last_failure": None,
    "waiting": 0,
    "waiting_more": False,
    "given_up": 0,
    "given_up_more": False,
}


def _trouble(health: Health, **more: object) -> Trouble:
    return {**WELL, "health": health, **more}  # type: ignore[typeddict-item]


def _said(webhook: Webhook, trouble: Trouble, ahead: Ahead | None = None, rate_limited: int = 0) -> Said | None:
    return said(webhook, trouble, ahead=ahead, rate_limited=rate_limited, attempts_in_all=5)


def _words(told: Said | None) -> str:
    assert told is not None
    return " ".join((told.title, *(line.words for line in told.lines)))


def test_a_webhook_that_is_well_says_nothing() -> None:
    """Also one whose deliveries wait for their first attempt, or that failed once and recovered."""
    assert _said(WEBHOOK, WELL) is None
    assert _said(WEBHOOK, _trouble(Health.WELL, waiting=3, last_failure=FAILURE)) is None


def test_a_failing_one_says_since_when_why_how_many_wait_and_were_given_up() -> None:
    """The cause in words, with the receiver's own answer; the time is a part of its own."""
    trouble = _trouble(
        Health.FAILING,
        since=NOON,
        made_since=BEFORE,
        failures_in_a_row=9,
        last_failure=FAILURE,
        waiting=12,
        given_up=1,
        given_up_more=False,
    )
    told = _said(WEBHOOK, trouble)
    assert _words(told) == (
        f"Everything has failed since {NOON}. ci.acme.dev answers 503: build queue is full. "
        "12 deliveries wait and are tried again. "
        f"1 delivery made since {BEFORE} was given up; a resend sends it again."
    )
    assert told is not None
    assert [(line.state, line.number) for line in told.lines] == [("", 0), ("pending", 12), ("failed", 1)]
    assert told.is_bad
    assert [part for part in marked(told.title) if isinstance(part, At)] == [NOON]


def test_one_that_failed_lately_says_how_often() -> None:
    """Without an hour of failures nobody was told yet; the page tells."""
    once = _trouble(Health.FAILED, since=NOON, failures_in_a_row=1, last_failure=FAILURE, waiting=1)
    assert _words(_said(WEBHOOK, once)).startswith("The last attempt failed. ci.acme.dev answers 503")
    assert "1 delivery waits and is tried again." in _words(_said(WEBHOOK, once))
    often: Trouble = {**once, "failures_in_a_row": 3}
    assert _words(_said(WEBHOOK, often)).startswith(f"The last 3 attempts failed, the first {NOON}.")


def test_a_disabled_one_says_by_whom_and_what_is_held() -> None:
    """Somebody's own will is nothing bad."""
    told = _said(OFF, _trouble(Health.OFF, waiting=1000, waiting_more=True))
    assert _words(told) == f"This webhook is off since {NOON}. 1,000+ deliveries are held until it is enabled."
    assert told is not None
    assert not told.is_bad
    assert "What comes for it is held" in _words(_said(OFF, _trouble(Health.OFF)))
    by_service = replace(OFF, disabled_reason="nothing but failures since noon")
    told = _said(
        by_service,
        _trouble(Health.DISABLED, since=NOON, made_since=BEFORE, last_failure=FAILURE, waiting=1, given_up=2),
    )
    assert _words(told) == (
        f"The service disabled this webhook {NOON}: nothing but failures since noon. "
        "ci.acme.dev answers 503: build queue is full. 1 delivery is held until it is enabled. "
        f"2 deliveries made since {BEFORE} were given up; once it is enabled, a resend sends them again. "
        "Enable it once its receiver is well: the count of failures then begins anew."
    )
    assert told is not None
    assert [line.state for line in told.lines] == ["", "held", "failed", ""]
    # The last cause is said once, in the receiver's own words.
    reason = f"nothing but failures since {BEFORE}, the last one: status 503"
    told = _said(replace(OFF, disabled_reason=reason), _trouble(Health.DISABLED, since=NOON, last_failure=FAILURE))
    assert _words(told).startswith(
        f"The service disabled this webhook {NOON}: nothing but failures since {BEFORE}. "
        "ci.acme.dev answers 503: build queue is full. "
    )


def test_one_that_was_disabled_for_its_secret_says_nothing_of_its_receiver() -> None:
    """What failed before is not why, and what it lacks is a new secret."""
    reason = "the secret of wh_1 cannot be opened: the key k1 does not open it"
    told = _said(replace(OFF, disabled_reason=reason), _trouble(Health.DISABLED, since=NOON, last_failure=FAILURE))
    assert _words(told) == (
        f"The service disabled this webhook {NOON}: {reason}. What comes for it is held until it is enabled. "
        "Give it a new secret, and its headers anew; then enable it."
    )


def test_one_that_waits_for_its_order_or_rate_limit_says_so() -> None:
    """The delivery that holds the others up is a part of its own, which pages link."""
    ahead: Ahead = {"delivery_id": "dlv_7", "attempt": 2, "in_flight": False, "next_attempt_at": LATER}
    told = _said(WEBHOOK, WELL, ahead=ahead)
    assert _words(told) == (
        "Its order holds everything up. "
        f"It sends one after the other, and the others wait for dlv_7 (attempt 2 of 5 at {LATER})."
    )
    assert told is not None
    assert DeliveryId("dlv_7") in told.lines[0].words
    under_way: Ahead = {**ahead, "in_flight": True, "next_attempt_at": None}
    assert "(attempt 2 of 5 under way)" in _words(_said(WEBHOOK, WELL, ahead=under_way))
    limited = replace(WEBHOOK, rate_limit="10/s")
    assert _words(_said(limited, WELL, rate_limited=4)) == (
        "Its rate limit is used up. 4 deliveries wait for a place in its rate limit of 10/s."
    )
    assert "1,000+ deliveries wait" in _words(_said(limited, WELL, rate_limited=MOST_WAITING))
    failing = _trouble(Health.FAILING, since=NOON, failures_in_a_row=2, last_failure=FAILURE, waiting=3)
    assert "the others wait for dlv_7" in _words(_said(WEBHOOK, failing, ahead=ahead))
    # Whatever makes them wait, they are listed at one of the sentences.
    for told in (_said(limited, failing, ahead=ahead, rate_limited=3), _said(limited, {**WELL, "waiting": 3}, ahead=ahead, rate_limited=3)):  # fmt: skip
        assert told is not None
        assert [line.number for line in told.lines if line.state] == [3]


@pytest.mark.parametrize(
    ("in_flight", "waiting", "listed"), [(True, 1, [2]), (True, 0, []), (False, 2, [2]), (False, 1, [])]
)
def test_the_list_of_what_waits_for_another_has_that_one_too(in_flight: bool, waiting: int, listed: list[int]) -> None:
    """What waits is counted without what is in flight; where there are no others the sentence leads to the one alone."""
    ahead: Ahead = {"delivery_id": "dlv_7", "attempt": 2, "in_flight": in_flight, "next_attempt_at": None if in_flight else LATER}  # fmt: skip
    told = _said(WEBHOOK, {**WELL, "waiting": waiting}, ahead=ahead)
    assert told is not None
    assert [line.number for line in told.lines if line.state] == listed


@pytest.mark.parametrize(("waiting", "listed"), [(5, [1]), (1, [1]), (0, [])])
def test_what_waits_for_the_rate_limit_is_listed_where_all_of_it_is_pending(waiting: int, listed: list[int]) -> None:
    """A resend of what has arrived waits too, and a list of what is pending lacks it; others wait for their time."""
    told = _said(replace(WEBHOOK, rate_limit="10/s"), {**WELL, "waiting": waiting}, rate_limited=1)
    assert told is not None
    assert [line.number for line in told.lines if line.state] == listed


@pytest.mark.parametrize(
    ("outcome", "why", "words"),
    [
        (Outcome.TIMEOUT, "no answer within 10 s", "ci.acme.dev does not answer in time: no answer within 10 s"),
        (Outcome.CONNECTION_ERROR, "connection refused", "ci.acme.dev cannot be reached: connection refused"),
        (Outcome.BLOCKED, "127.0.0.1 is loopback", "ci.acme.dev may not be reached: 127.0.0.1 is loopback"),
        (Outcome.HTTP_ERROR, None, "ci.acme.dev answers 503"),
    ],
)
def test_each_outcome_has_its_words(outcome: Outcome, why: str | None, words: str) -> None:
    """With the cause as it was recorded."""
    assert cause({**FAILURE, "outcome": outcome, "cause": why, "answer": ""}) == f"{words}."


def test_a_url_that_was_broken_by_hand_is_named_as_the_receiver() -> None:
    """Its host cannot be read."""
    assert cause({**FAILURE, "url": "https://[", "answer": ""}) == "the receiver answers 503."
