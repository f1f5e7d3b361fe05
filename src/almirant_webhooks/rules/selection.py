"""Which deliveries of the log a list, a count or a resend means: how people write it, for command, API and pages alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from .. import clock
from ..model import Refused, State

STATES = (*(state.value for state in State), "held")
WORDS = ("timeout", "connection error", "blocked", "interrupted")
_CODE = re.compile(r"[1-9]([0-9]{2}|xx)")
# What bounds a selection: the end of its time alone leaves all that there was before it.
_NARROWING = ("project_id", "webhook_id", "state", "status", "event_type", "event_id", "cause", "since")


def state(text: str) -> str:
    """Return a delivery's state, `held` too, or raise `Refused`."""
    if text not in STATES:
        raise Refused(f"state must be one of {', '.join(STATES)}.", "state")
    return text


def status(text: str) -> str:
    """Return an attempt's status as the log has it: a code, a class (`5xx`) or a word; or raise `Refused`."""
    written = text.lower().replace("_", " ")
    if written not in WORDS and not _CODE.fullmatch(written):
        raise Refused(f"status must be a code (500), a class (5xx) or one of {', '.join(WORDS)}.", "status")
    return written


def moment(text: str, field: str, now: datetime) -> datetime:
    """Return a time, or how long ago it was (`2h`), or raise `Refused`."""
    try:
        return clock.moment(text, now)
    except ValueError as error:
        raise Refused(f"{field}: {error}.", field) from None


def read(given: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return filters as `storage/sqlite` takes them from what people wrote; what is empty is left out. Raises `Refused` with the field."""
    rules: dict[str, Callable[[str], Any]] = {
        "state": state,
        "status": status,
        "since": lambda text: moment(text, "since", now),
        "until": lambda text: moment(text, "until", now),
    }
    return {name: rules.get(name, str)(value) for name, value in given.items() if value}


def check_is_narrowed(filters: Mapping[str, Any]) -> None:
    """Raise `Refused` for a selection of everything: nobody sends all deliveries of all projects again by leaving words out."""
    if not any(filters.get(name) for name in _NARROWING):
        raise Refused(
            "Say which deliveries: by project, webhook, state, status, event type, event, cause, or since when they were "
            "made. Everything at once is not sent again.",
            "body",
        )
