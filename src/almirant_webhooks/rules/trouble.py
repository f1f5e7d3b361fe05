"""What is wrong with a webhook, in sentences: pages, commands and API say the same.

Storage gives the facts, and each face writes the times and ids of a sentence in its own way.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

from ..model import Ahead, Health, Outcome, State, Webhook
from .endings import ending
from .outcomes import place_of
from .sentences import At, Sentence
from .stored_texts import is_unopenable, recognised
from .texts import Cased, Text, amount, plural

MOST_WAITING = 1000  # deliveries of a webhook that are counted, of what waits or was given up


class LastFailure(TypedDict):
    """The newest attempt of a webhook that failed; `answer` is the answer's body as text."""

    delivery_id: str
    started_at: str
    outcome: Outcome
    status_code: int | None
    cause: str | None
    url: str
    answer: str


class Trouble(TypedDict):
    """How a webhook stands: since when nothing but failures came, how the last of them ended, what waits and was given up.

    `waiting` are pending deliveries that are not in flight, `given_up` those made since `made_since`, the last success
    or the webhook's creation where that was before `since`, that have failed; each is counted up to a limit, beyond which its `…_more` is true.
    """

    health: Health
    since: str | None
    made_since: str | None
    failures_in_a_row: int
    last_failure: LastFailure | None
    waiting: int
    waiting_more: bool
    given_up: int
    given_up_more: bool


class Line(NamedTuple):
    """A sentence of a webhook; `state` is what the `number` deliveries are listed by that it counts, empty where it counts none."""

    words: Sentence
    state: str = ""
    number: int = 0


class Said(NamedTuple):
    """What a webhook says of itself: a title, and sentences below it; `is_bad` is false for what somebody wanted so."""

    is_bad: bool
    title: Sentence
    lines: tuple[Line, ...]


def said(
    webhook: Webhook, trouble: Trouble, *, ahead: Ahead | None, rate_limited: int, attempts_in_all: int
) -> Said | None:
    """Return what is to be said of a webhook before anything else; None for one that is well.

    `ahead` is the delivery that holds all others of an ordered webhook up, `rate_limited` how many wait for its rate limit.
    """
    if not webhook.enabled:
        return _off(webhook, trouble)
    lines: list[Line] = []
    fate = _fate(trouble) if trouble["health"] in (Health.FAILING, Health.FAILED) else []
    # What waits is counted, and listed, once.
    waiting = 0 if any(line.state == State.PENDING for line in fate) else trouble["waiting"]
    if trouble["last_failure"] is not None and trouble["failures_in_a_row"]:
        lines.append(Line(cause(trouble["last_failure"])))
    if ahead is not None:
        together = waiting + ahead["in_flight"] if waiting else 0
        lines.append(_waiting(_held_up(ahead, attempts_in_all), together if together > 1 else 0))
        waiting = 0
    lines += fate
    if rate_limited and webhook.rate_limit:
        # Resends that were asked for wait too, and of these some are of what has ended: no list has both.
        is_listed = waiting >= rate_limited
        lines.append(_waiting(_rate_limited(webhook.rate_limit, rate_limited), rate_limited if is_listed else 0))
    since = trouble["since"]
    if trouble["health"] is Health.FAILING and since is not None:
        return Said(True, Text("Everything has failed since {since}.", since=At(since)), tuple(lines))
    if trouble["health"] is Health.FAILED:
        return Said(True, _failed(trouble["failures_in_a_row"], since), tuple(lines))
    if ahead is not None:
        return Said(False, Text("Its order holds everything up."), tuple(lines))
    if rate_limited and webhook.rate_limit:
        return Said(False, Text("Its rate limit is used up."), tuple(lines))
    return None


def _failed(failures: int, since: str | None) -> Sentence:
    if failures == 1:
        return Text("The last attempt failed.")
    if since is None:
        return Text("The last {number:,} attempts failed.", number=failures)
    return Text("The last {number:,} attempts failed, the first {since}.", number=failures, since=At(since))


def cause(failure: LastFailure) -> Sentence:
    """Return in words how the receiver of a failed attempt answers, with a full stop."""
    outcome, status_code = failure["outcome"], failure["status_code"]
    words = ending(failure["url"], outcome, status_code, failure["cause"], failure["answer"], now=True)
    return Text("{ending}.", ending=Cased(words, str.upper) if outcome is Outcome.INTERRUPTED else words)


def _off(webhook: Webhook, trouble: Trouble) -> Said:
    at = At(webhook.disabled_at or webhook.updated_at)
    lines: list[Line] = []
    lacks_secrets = is_unopenable(webhook.disabled_reason)
    if webhook.disabled_reason:
        reason = recognised(webhook.disabled_reason)
        if trouble["last_failure"] is not None and not lacks_secrets:
            lines.append(Line(cause(trouble["last_failure"])))
            reason = _without_cause(reason)
        title = Text("The service disabled this webhook {at}: {reason}.", at=at, reason=reason)
    else:
        title = Text("This webhook is off since {at}.", at=at)
    lines.append(_held(trouble["waiting"], more=trouble["waiting_more"]))
    if trouble["given_up"]:
        lines.append(_given_up(trouble, enabled=False))
    if lacks_secrets:
        lines.append(Line(Text("Give it a new secret, and its headers anew; then enable it.")))
    elif webhook.disabled_reason:
        lines.append(Line(Text("Enable it once its receiver is well: the count of failures then begins anew.")))
    return Said(bool(webhook.disabled_reason), title, tuple(lines))


def _without_cause(reason: Text) -> Text:
    """Return a reason without the last cause in it, which the next sentence says in the receiver's own words."""
    if reason.msgid != "nothing but failures since {since}, the last one: {cause}":
        return reason
    return Text("nothing but failures since {since}", since=reason.parts["since"])


def _held(number: int, *, more: bool) -> Line:
    if not number:
        return Line(Text("What comes for it is held until it is enabled."))
    words = plural(
        "{number} delivery is held until it is enabled.",
        "{number} deliveries are held until it is enabled.",
        number,
        number=amount(number, more=more),
    )
    return Line(words, "held", number)


def _fate(trouble: Trouble) -> list[Line]:
    waiting = trouble["waiting"]
    lines: list[Line] = []
    if waiting:
        words = plural(
            "{number} delivery waits and is tried again.",
            "{number} deliveries wait and are tried again.",
            waiting,
            number=amount(waiting, more=trouble["waiting_more"]),
        )
        lines.append(_waiting(words, waiting))
    if trouble["given_up"]:
        lines.append(_given_up(trouble, enabled=True))
    return lines


def _waiting(words: Sentence, number: int) -> Line:
    return Line(words, State.PENDING, number) if number else Line(words)


def _given_up(trouble: Trouble, *, enabled: bool) -> Line:
    number = trouble["given_up"]
    parts = {"number": amount(number, more=trouble["given_up_more"]), "since": At(trouble["made_since"] or "")}
    if enabled:
        words = plural(
            "{number} delivery made since {since} was given up; a resend sends it again.",
            "{number} deliveries made since {since} were given up; a resend sends them again.",
            number,
            **parts,
        )
    else:
        words = plural(
            "{number} delivery made since {since} was given up; once it is enabled, a resend sends that again.",
            "{number} deliveries made since {since} were given up; once it is enabled, a resend sends them again.",
            number,
            **parts,
        )
    return Line(words, State.FAILED, number)


def _held_up(ahead: Ahead, attempts_in_all: int) -> Sentence:
    place = place_of(ahead, attempts_in_all)
    return Text("It sends one after the other, and the others wait for {delivery}.", delivery=place)


def _rate_limited(rate: str, waiting: int) -> Sentence:
    return plural(
        "{number} delivery waits for a place in its rate limit of {rate}.",
        "{number} deliveries wait for a place in its rate limit of {rate}.",
        waiting,
        number=amount(waiting, more=waiting >= MOST_WAITING),
        rate=rate,
    )
