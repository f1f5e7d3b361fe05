"""How an attempt ended, in words: who it was sent to, and what that receiver answered in its own words."""

from __future__ import annotations

from ..model import Outcome
from .excerpts import excerpt
from .signing import host
from .stored_texts import recognised
from .texts import Text


def ending(
    url: str, outcome: Outcome, status_code: int | None, cause: str | None, answer: str, *, now: bool = False
) -> Text:
    """Return how an attempt to a URL ended, without a full stop; `now` tells of how the receiver is, not of how it was.

    `answer` is the answer's body as text, of which the words of an error are taken.
    """
    name = host(url) or Text("the receiver")
    why = recognised(cause) if cause else None
    match outcome:
        case Outcome.SUCCESS | Outcome.HTTP_ERROR:
            words = excerpt(answer).rstrip(".") if outcome is Outcome.HTTP_ERROR else ""
            return _answered(name, status_code, words, now=now)
        case Outcome.INTERRUPTED:
            why = why or Text("its end is not known")
            return Text("the attempt to {host} was interrupted: {cause}", host=name, cause=why)
        case Outcome.BLOCKED:
            return Text("{host} may not be reached: {cause}", host=name, cause=why or Text("blocked"))
        case Outcome.TIMEOUT:
            why = why or Text("timeout")
            if now:
                return Text("{host} does not answer in time: {cause}", host=name, cause=why)
            return Text("{host} did not answer in time: {cause}", host=name, cause=why)
        case _:
            why = why or Text("connection error")
            if now:
                return Text("{host} cannot be reached: {cause}", host=name, cause=why)
            return Text("{host} could not be reached: {cause}", host=name, cause=why)


def _answered(name: str, status_code: int | None, words: str, *, now: bool) -> Text:
    """Return what a receiver answered; `words` are its own."""
    if words and now:
        return Text("{host} answers {status}: {words}", host=name, status=status_code, words=words)
    if words:
        return Text("{host} answered {status}: {words}", host=name, status=status_code, words=words)
    if now:
        return Text("{host} answers {status}", host=name, status=status_code)
    return Text("{host} answered {status}", host=name, status=status_code)
