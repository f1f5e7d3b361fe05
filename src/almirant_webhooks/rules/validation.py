"""The rules for a webhook's fields, for the command line, the API and the pages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import timedelta

from .. import clock
from ..model import EVENT_ID_PATTERN, PROJECT_ID_PATTERN, RESERVED_PROJECT, Full, Refused, WrongUsage
from . import event_types, signing
from .stored_texts import recognised
from .texts import Text

MAX_DESCRIPTION = 500
LONGEST_SWITCH = timedelta(days=30)
LONGEST_LINK = timedelta(days=1)
_TOKEN_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def events(patterns: Iterable[str], extra_types: Collection[str], project_id: str) -> tuple[str, ...]:
    """Return the patterns that a webhook of a project subscribes to, without doubles, or raise `Refused`.

    `extra_types` are event types that the operator has added to the catalogue.
    """
    checked = tuple(dict.fromkeys(event_types.check_pattern(pattern, extra_types, project_id) for pattern in patterns))
    if not checked:
        raise Refused(Text("A webhook subscribes to one event type at least."), "events")
    return checked


def secret(text: str | None) -> str:
    """Return a valid secret: the given one, or a new one for None. Raises `Refused`."""
    return signing.generate_secret() if text is None else signing.check_secret(text)


def switch_after(text: str) -> timedelta:
    """Return the time until a new secret signs, 30 days at most, or raise `Refused`."""
    try:
        span = clock.duration(text)
    except ValueError as error:
        raise Refused(Text("{error}.", error=recognised(str(error))), "switch_after") from None
    if span > LONGEST_SWITCH:
        raise Refused(
            Text("A switch is at most {span} away.", span=clock.show_duration(LONGEST_SWITCH)), "switch_after"
        )
    return span


def link_lives(text: str) -> timedelta:
    """Return how long a link is valid, from a second to a day, or raise `WrongUsage`."""
    try:
        span = clock.duration(text)
    except ValueError as error:
        raise WrongUsage(f"expires: {error}.", "expires") from None
    if not timedelta(seconds=1) <= span <= LONGEST_LINK:
        raise WrongUsage(
            "A link lives for a second at least and a day at most; the session that it begins lasts for hours.",
            "expires",
        )
    return span


def token_name(text: str) -> str:
    """Return the name of an API token: letters, digits, `.`, `_` and `-`, 64 at most. Raises `Refused`."""
    if not _TOKEN_NAME.fullmatch(text):
        raise Refused(Text("The name of a token has 1 to 64 letters, digits, '.', '_' or '-'."), "name")
    return text


def occurred_at(text: str) -> str:
    """Return the time of an event in the outbox's format, or raise `Refused`."""
    try:
        return clock.text(clock.parse(text))
    except ValueError as error:
        raise Refused(f"occurred_at: {error}.", "occurred_at") from None


def project_id(text: str) -> str:
    """Return a project id of 1 to 128 printable ASCII characters without spaces, or raise `Refused`."""
    if not PROJECT_ID_PATTERN.fullmatch(text):
        raise Refused(Text("A project id is 1 to 128 printable ASCII characters without spaces."), "project_id")
    return text


def producers_project(text: str) -> str:
    """Return the project that a producer's event may belong to, or raise `Refused`."""
    if project_id(text) == RESERVED_PROJECT:
        raise Refused(
            Text(
                "The project {text} is reserved for events about webhooks themselves, which are made here.", text=text
            ),
            "project_id",
        )
    return text


def event_id(text: str) -> str:
    """Return an event id of 1 to 128 letters, digits, `_`, `-` or `:`, or raise `Refused`."""
    if not EVENT_ID_PATTERN.fullmatch(text):
        raise Refused(Text("An event id is 1 to 128 letters, digits, '_', '-' or ':'."), "event_id")
    return text


def description(text: str) -> str:
    """Return a description of at most 500 characters without control characters, or raise `Refused`."""
    if len(text) > MAX_DESCRIPTION or any(ord(char) < 32 for char in text):
        raise Refused(
            Text("A description is one line of at most {max_description} characters.", max_description=MAX_DESCRIPTION),
            "description",
        )
    return text


def check_room(project_id: str, count: int, limit: int) -> None:
    """Raise `Full` where a project that has `count` webhooks may have no further one."""
    if count >= limit:
        raise Full(
            Text(
                "Project {project_id} has {count} webhooks, and a project may have {limit}. Delete one that is not needed, or "
                "ask your operator to allow more.",
                project_id=project_id,
                count=count,
                limit=limit,
            ),
            "project_id",
        )
