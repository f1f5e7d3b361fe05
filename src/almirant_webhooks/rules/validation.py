"""The rules for a webhook's fields, for the command line, the API and the pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

from .. import clock
from ..model import Refused, WrongUsage, check_project_id
from . import event_types, signing, urls

MAX_DESCRIPTION = 500
LONGEST_SWITCH = timedelta(days=30)
LONGEST_LINK = timedelta(days=30)


def url(text: str, policy: urls.Policy) -> str:
    """Return the normalised URL, or raise `Refused`."""
    return urls.check_url(text, policy)


def events(patterns: Iterable[str], extra_types: Collection[str], project_id: str) -> tuple[str, ...]:
    """Return the patterns that a webhook of a project subscribes to, without doubles, or raise `Refused`.

    `extra_types` are event types that the operator has added to the catalogue.
    """
    checked = tuple(dict.fromkeys(event_types.check_pattern(pattern, extra_types, project_id) for pattern in patterns))
    if not checked:
        raise Refused("A webhook subscribes to one event type at least.", "events")
    return checked


def secret(text: str | None) -> str:
    """Return a valid secret: the given one, or a new one for None. Raises `Refused`."""
    return signing.generate_secret() if text is None else signing.check_secret(text)


def switch_after(text: str) -> timedelta:
    """Return the time until a new secret signs, 30 days at most, or raise `Refused`."""
    try:
        span = clock.duration(text)
    except ValueError as error:
        raise Refused(f"{error}.", "switch_after") from None
    if span > LONGEST_SWITCH:
        raise Refused(f"A switch is at most {clock.show_duration(LONGEST_SWITCH)} away.", "switch_after")
    return span


def link_lives(text: str) -> timedelta:
    """Return how long a link is valid, from a second to 30 days, or raise `WrongUsage`."""
    try:
        span = clock.duration(text)
    except ValueError as error:
        raise WrongUsage(f"expires: {error}.", "expires") from None
    if not timedelta(seconds=1) <= span <= LONGEST_LINK:
        raise WrongUsage("A link lives for a second at least and 30 days at most.", "expires")
    return span


def occurred_at(text: str) -> str:
    """Return the time of an event in the outbox's format, or raise `Refused`."""
    try:
        return clock.text(clock.parse(text))
    except ValueError as error:
        raise Refused(f"occurred_at: {error}.", "occurred_at") from None


def project_id(text: str) -> str:
    """Return the project's id, or raise `Refused`."""
    return check_project_id(text)


def description(text: str) -> str:
    """Return a description of at most 500 characters without control characters, or raise `Refused`."""
    if len(text) > MAX_DESCRIPTION or any(ord(char) < 32 for char in text):
        raise Refused(f"A description is one line of at most {MAX_DESCRIPTION} characters.", "description")
    return text
