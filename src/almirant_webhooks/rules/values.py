"""The rules for single values, for the command line, the API and the pages: text, numbers, times, cursors, ids.

Each function takes the text and the name of the parameter. It raises `Refused`, whose message says how to fix the value.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from .. import clock
from ..model import EVENT_ID_PATTERN, PROJECT_ID_PATTERN, Outcome, Refused
from .event_types import family_of, is_well_formed
from .stored_texts import recognised
from .texts import Text

MAX_LENGTH = 1000  # characters of a value that is looked for
MAX_ROW = 2**62  # above every row's number
# What a status without an answer of HTTP is called: `timeout`, `connection error` and so on.
WORDS = tuple(outcome.replace("_", " ") for outcome in Outcome if outcome not in (Outcome.SUCCESS, Outcome.HTTP_ERROR))
_WHOLE = re.compile(r"0|[1-9][0-9]*")
_STATUS = re.compile(r"[1-9]([0-9]{2}|xx)")
_WEBHOOK_ID = re.compile(r"wh_[0-9A-Za-z_]{1,64}")


def is_text(value: str) -> bool:
    """Return whether a text can be stored and shown: it has no NUL, and no half of a surrogate pair, which UTF-8 lacks."""
    return "\0" not in value and (value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value))


def storable(text: str, name: str) -> str:
    """Return a text that can be stored and shown."""
    if not is_text(text):
        raise Refused(Text("{name} holds a NUL or half of a surrogate pair, which is not text.", name=name), name)
    return text


def line(text: str, name: str) -> str:
    """Return a search text of 1 to 1,000 characters, without blanks around it."""
    stripped = storable(text, name).strip()
    if not stripped:
        raise Refused(Text("{name} is empty: give it a value, or leave it out.", name=name), name)
    if len(stripped) > MAX_LENGTH:
        raise Refused(
            Text(
                "{name} is longer than {max_length:,} characters; a part of it is enough.",
                name=name,
                max_length=MAX_LENGTH,
            ),
            name,
        )
    return stripped


def whole(text: str, name: str, minimum: int, maximum: int) -> int:
    """Return a whole number in ASCII digits without leading zeros."""
    if len(text) > len(str(maximum)) or not _WHOLE.fullmatch(text) or not minimum <= int(text) <= maximum:
        raise Refused(
            Text(
                "{name} must be a whole number from {minimum} to {maximum}.",
                name=name,
                minimum=minimum,
                maximum=maximum,
            ),
            name,
        )
    return int(text)


def flag(text: str, name: str) -> bool:
    """Return a truth value, written `true` or `false`."""
    if text not in ("true", "false"):
        raise Refused(Text("{name} must be true or false.", name=name), name)
    return text == "true"


def word(text: str, name: str, words: Collection[str]) -> str:
    """Return the text if it is one of `words`."""
    if text not in words:
        raise Refused(Text("{name} must be one of {words}.", name=name, words=", ".join(words)), name)
    return text


def time(text: str, name: str, now: datetime) -> datetime:
    """Return a time, which may be written as a duration before `now` (`2h`)."""
    try:
        return clock.moment(text, now)
    except ValueError as error:
        raise Refused(Text("{name}: {error}.", name=name, error=recognised(str(error))), name) from None


def status(text: str, name: str) -> str:
    """Return a status of the log: a code, a class (`5xx`) or a word."""
    normal = text.lower().replace("_", " ")
    if normal not in WORDS and not _STATUS.fullmatch(normal):
        raise Refused(
            Text("{name} must be a code (500), a class (5xx) or one of {words}.", name=name, words=", ".join(WORDS)),
            name,
        )
    return normal


def project_id(text: str, name: str) -> str:
    """Return a project's id."""
    return _shaped(text, name, PROJECT_ID_PATTERN, Text("1 to 128 printable ASCII characters without spaces"))


def webhook_id(text: str, name: str) -> str:
    """Return a webhook's id."""
    return _shaped(text, name, _WEBHOOK_ID, Text("the id of a webhook, wh_…, as the list of webhooks has it"))


def event_id(text: str, name: str) -> str:
    """Return an event's id."""
    return _shaped(text, name, EVENT_ID_PATTERN, Text("the id of an event: 1 to 128 letters, digits, '_', '-' or ':'"))


def event_type(text: str, name: str) -> str:
    """Return an event type or a family of them, in the catalogue or not."""
    if not is_well_formed(text) and not family_of(text):
        raise Refused(
            Text(
                "{name} must be an event type, dotted lower-case words such as work_item.created, or a family such as work_item.*, at most 128 characters.",
                name=name,
            ),
            name,
        )
    return text


def cursor(text: str, name: str, form: str) -> str:
    """Return the cursor of a list's next page; `form` is the regular expression of its cursors."""
    if not re.fullmatch(form, text, re.ASCII):
        raise _no_cursor(name)
    return text


def row_cursor(text: str, name: str) -> int:
    """Return the cursor of a list whose cursors are numbers of rows."""
    try:
        return whole(text, name, 0, MAX_ROW)
    except Refused:
        raise _no_cursor(name) from None


def _shaped(text: str, name: str, shape: re.Pattern[str], words: str) -> str:
    if not shape.fullmatch(text):
        raise Refused(Text("{name} must be {words}.", name=name, words=words), name)
    return text


def _no_cursor(name: str) -> Refused:
    return Refused(
        Text("{name} must be one that a page of this list gave; leave it out to begin anew.", name=name), name
    )
