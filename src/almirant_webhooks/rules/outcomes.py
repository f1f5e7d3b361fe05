"""What became of a delivery, in sentences, and what comes next: pages, commands and API say the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypedDict

from .. import clock
from ..model import Ahead, Headers, Outcome, State, Trigger
from .endings import ending
from .sentences import At, DeliveryId, Sentence
from .stored_texts import recognised
from .texts import Text, plural


class Attempt(TypedDict):
    """One attempt; its outcome and status are None while it is in flight.

    `response_body_note` says what was done with the body's bytes so that they can be read, if anything.
    """

    number: int
    trigger: Trigger
    started_at: str
    duration_ms: int | None
    outcome: Outcome | None
    status: str | None
    status_code: int | None
    cause: str | None
    url: str
    request_headers: Headers
    response_headers: Headers
    response_body: str
    body_cut: bool
    response_body_is_text: bool
    response_body_note: str | None


class DeliveryFacts(TypedDict):
    """What is known of one delivery: fields of its row, and its newest attempts, oldest first."""

    state: State
    test: bool
    held: int
    attempts: int
    tries: int
    next_attempt_at: str | None
    waits_for: Ahead | None
    failed_reason: str | None
    erased_at: str | None
    cancelled_reason: str | None
    resend_requested_at: str | None
    attempt_list: list[Attempt]


class Step(NamedTuple):
    """An attempt in the order of time; `waited` is how long it began after the end of the one before, None for the first."""

    attempt: Attempt
    waited: timedelta | None


def lacks_success(delivery: DeliveryFacts) -> bool:
    """Tell whether the attempt that succeeded is older than those that are there."""
    attempts = delivery["attempt_list"]
    is_there = any(attempt["outcome"] is Outcome.SUCCESS for attempt in attempts)
    return delivery["state"] is State.SUCCEEDED and bool(attempts) and not is_there


def outcome(
    delivery: DeliveryFacts, attempts_in_all: int, older_success: Attempt | None = None
) -> tuple[Sentence, ...]:
    """Return what became of a delivery: the first sentence says it all, the others what comes next.

    `older_success` is for one of which the attempts that are there lack it (`lacks_success`).
    """
    finished = [attempt for attempt in delivery["attempt_list"] if attempt["outcome"] is not None]
    in_flight = next((attempt for attempt in delivery["attempt_list"] if attempt["outcome"] is None), None)
    earlier = [older_success] if older_success is not None else []
    sentences = [_first(delivery, [*earlier, *finished], in_flight, attempts_in_all)]
    if in_flight is not None and finished:
        sentences.append(Text("Attempt {number} is under way.", number=in_flight["number"]))
    elif delivery["resend_requested_at"] is not None and in_flight is None:
        sentences.append(Text("A resend waits."))
    if delivery["held"]:
        sentences.append(Text("It is held, since its webhook is off, and goes on when that is enabled."))
    elif in_flight is None and (what := following(delivery, attempts_in_all)) is not None:
        sentences.append(what)
    return tuple(sentences)


def _first(
    delivery: DeliveryFacts, finished: Sequence[Attempt], in_flight: Attempt | None, attempts_in_all: int
) -> Sentence:
    last = finished[-1] if finished else None
    match delivery["state"]:
        case State.SUCCEEDED:
            good = next((attempt for attempt in reversed(finished) if attempt["outcome"] is Outcome.SUCCESS), None)
            if good is None:
                return Text("Delivered.")
            duration = good["duration_ms"] or 0
            if good["number"] == 1:
                return Text("Delivered: {ending} in {duration:,} ms.", ending=_ending(good), duration=duration)
            return Text(
                "Delivered at attempt {number}: {ending} in {duration:,} ms.",
                number=good["number"],
                ending=_ending(good),
                duration=duration,
            )
        case State.CANCELLED:
            reason = delivery["cancelled_reason"]
            return Text("Cancelled: {reason}.", reason=recognised(reason) if reason else Text("nothing more is sent"))
        case State.FAILED if delivery["failed_reason"]:
            return Text("Not sent: {reason}.", reason=recognised(delivery["failed_reason"]))
        case State.FAILED if delivery["test"]:
            if last is None:
                return Text("The test failed. A test has one attempt.")
            return Text("The test failed: {ending}. A test has one attempt.", ending=_ending(last))
        case State.FAILED:
            if last is None:
                return Text("Given up.")
            return plural(
                "Given up after {number:,} attempt: {ending}.",
                "Given up after {number:,} attempts: {ending}.",
                delivery["attempts"],
                ending=_ending(last),
            )
        case _:
            if last is not None:
                if last["trigger"] is Trigger.MANUAL:
                    return Text("A resend failed: {ending}.", ending=_ending(last))
                return Text(
                    "Attempt {number} of {most} failed: {ending}.",
                    number=max(delivery["tries"], 1),
                    most=attempts_in_all,
                    ending=_ending(last),
                )
            if in_flight is not None:
                return Text("The first attempt is under way.")
            return Text("Waits for its first attempt.")


def _ending(attempt: Attempt) -> Text:
    assert attempt["outcome"] is not None
    return ending(
        attempt["url"], attempt["outcome"], attempt["status_code"], attempt["cause"], attempt["response_body"]
    )


def following(delivery: DeliveryFacts, attempts_in_all: int) -> Sentence | None:
    """Return what comes next on the schedule and when; None where nothing is planned."""
    number = delivery["tries"] + 1
    ahead = delivery["waits_for"]
    if delivery["state"] is not State.PENDING or delivery["held"]:
        return None
    if ahead is not None:
        return Text(
            "The next attempt ({number} of {most}) waits for {delivery}, as its webhook sends one after the other.",
            number=number,
            most=attempts_in_all,
            delivery=place_of(ahead, attempts_in_all),
        )
    if delivery["next_attempt_at"] is None:
        return None
    return Text(
        "The next attempt ({number} of {most}) is planned for {at}.",
        number=number,
        most=attempts_in_all,
        at=At(delivery["next_attempt_at"]),
    )


def place_of(ahead: Ahead, attempts_in_all: int) -> Sentence:
    """Return a delivery that others wait for by their order, with its own next attempt, as a part of a sentence."""
    parts = {"delivery": DeliveryId(ahead["delivery_id"]), "number": ahead["attempt"], "most": attempts_in_all}
    if ahead["in_flight"] or ahead["next_attempt_at"] is None:
        return Text("{delivery} (attempt {number} of {most} under way)", **parts)
    return Text("{delivery} (attempt {number} of {most} at {at})", **parts, at=At(ahead["next_attempt_at"]))


def left_out(delivery: DeliveryFacts) -> Text | None:
    """Say how many of a delivery's attempts are shown; None where it is every one."""
    attempts = delivery["attempt_list"]
    if not attempts or attempts[0]["number"] == 1:
        return None
    return Text("The newest {shown:,} of {number:,} are shown.", shown=len(attempts), number=attempts[-1]["number"])


def steps(attempts: Sequence[Attempt], before: Attempt | None = None) -> list[Step]:
    """Return the attempts in their order, each with how long was waited before it; `before` is the one before the first."""
    found: list[Step] = []
    end = None if before is None else _end(before)
    for attempt in attempts:
        begin = clock.parse(attempt["started_at"])
        found.append(Step(attempt, max(begin - end, timedelta(0)) if end is not None else None))
        end = _end(attempt)
    return found


def _end(attempt: Attempt) -> datetime:
    return clock.parse(attempt["started_at"]) + timedelta(milliseconds=attempt["duration_ms"] or 0)
