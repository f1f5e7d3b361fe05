"""The rules for single values, for the command line, the API and the pages: text, numbers, times, cursors, ids.

Each function takes the text and the name of the parameter. It raises `Refused`, whose message says how to fix the value.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from .. import clock
from ..model import EVENT_ID_PATTERN, PROJECT_ID_PATTERN, Refused
from .event_types import is_well_formed

MAX_LENGTH = 1000  # characters of a value that is looked for
MAX_ROW = 2**62  # above every row's number
WORDS = ("timeout", "connection error", "blocked", "interrupted")
_WHOLE = re.compile(r"0|[1-9][0-9]*")
_STATUS = re.compile(r"[1-9]([0-9]{2}|xx)")
_WEBHOOK_ID = re.compile(r"wh_[0-9A-Za-z_]{1,64}")


def is_text(value: str) -> bool:
    """Return whether a text can be stored and shown: it has no NUL, and no half of a surrogate pair, which UTF-8 lacks."""
    return "\0" not in value and (value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value))


def storable(text: str, name: str) -> str:
    """Return a text that can be stored and shown."""
    if not is_text(text):
        raise Refused(f"{name} holds a NUL or half of a surrogate pair, which is not text.", name)
    return text


def line(text: str, name: str) -> str:
    """Return a search text of 1 to 1,000 characters, without blanks around it."""
    stripped = storable(text, name).strip()
    if not stripped:
        raise Refused(f"{name} is empty: give it a value, or leave it out.", name)
    if len(stripped) > MAX_LENGTH:
        raise Refused(f"{name} is longer than {MAX_LENGTH:,} characters; a part of it is enough.", name)
    return stripped


def whole(text: str, name: str, minimum: int, maximum: int) -> int:
    """Return a whole number in ASCII digits without leading zeros."""
    if len(text) > len(str(maximum)) or not _WHOLE.fullmatch(text) or not minimum <= int(text) <= maximum:
        raise Refused(f"{name} must be a whole number from {minimum} to {maximum}.", name)
    return int(text)


def flag(text: str, name: str) -> bool:
    """Return a truth value, written `true` or `false`."""
    if text not in ("true", "false"):
        raise Refused(f"{name} must be true or false.", name)
    return text == "true"


def word(text: str, name: str, words: Collection[str]) -> str:
    """Return the text if it is one of `words`."""
    if text not in words:
        raise Refused(f"{name} must be one of {', '.join(words)}.", name)
    return text


def time(text: str, name: str, now: datetime) -> datetime:
    """Return a time, which may be written as a duration before `now` (`2h`)."""
    try:
        return clock.moment(text, now)
    except ValueError as error:
        raise Refused(f"{name}: {error}.", name) from None


def status(text: str, name: str) -> str:
    """Return a status of the log: a code, a class (`5xx`) or a word."""
    normal = text.lower().replace("_", " ")
    if normal not in WORDS and not _STATUS.fullmatch(normal):
        raise Refused(f"{name} must be a code (500), a class (5xx) or one of {', '.join(WORDS)}.", name)
    return normal


def project_id(text: str, name: str) -> str:
    """Return a project's id."""
    return _shaped(text, name, PROJECT_ID_PATTERN, "1 to 128 printable ASCII characters without spaces")


def webhook_id(text: str, name: str) -> str:
    """Return a webhook's id."""
    return _shaped(text, name, _WEBHOOK_ID, "the id of a webhook, wh_…, as the list of webhooks has it")


def event_id(text: str, name: str) -> str:
    """Return an event's id."""
    return _shaped(text, name, EVENT_ID_PATTERN, "the id of an event: 1 to 128 letters, digits, '_', '-' or ':'")


def event_type(text: str, name: str) -> str:
    """Return an event type, in the catalogue or not."""
    if not is_well_formed(text):
        raise Refused(
            f"{name} must be an event type: dotted lower-case words such as work_item.created, at most 128 characters.",
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
        raise Refused(f"{name} must be {words}.", name)
    return text


def _no_cursor(name: str) -> Refused:
    return Refused(f"{name} must be one that a page of this list gave; leave it out to begin anew.", name)
