"""From a request to values: JSON bodies by a model, filters by their names; what is wrong is named with its field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from ... import clock
from ...db.search import Filters
from ...model import Refused, State
from ..context import scope
from ..limits import in_time

MAX_LIMIT = 200
STATES = (*(state.value for state in State), "held")

T = TypeVar("T")
M = TypeVar("M", bound="Body")


class Body(BaseModel):
    """What a request's body may hold; other fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


async def body(request: web.Request, model: type[M]) -> M:
    """Read the body as JSON of a model (none is an empty object); raises `Refused` with the field."""
    raw = await in_time(request.read())
    try:
        given = json.loads(raw.decode("utf-8")) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise Refused("The body must be JSON in UTF-8.", "body") from None
    try:
        found = model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise Refused(f"{field}: {first['msg']}.", field) from None
    for name, value in found:
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
            raise Refused(f"{name} holds half of a surrogate pair, which is not Unicode text.", name)
    return found


def query(request: web.Request, *known: str) -> dict[str, str]:
    """Return the parameters of the URL; raises `Refused` for one that is not known, empty ones are left out."""
    for name in request.query:
        if name not in known:
            raise Refused(f"There is no parameter {name!r}; known are {', '.join(known)}.", name)
        if len(request.query.getall(name)) > 1:
            raise Refused(f"{name} is given more than once.", name)
    return {name: value for name, value in request.query.items() if value != ""}


def limit(given: dict[str, str]) -> int:
    """Return how many items a page has: 50, or what was asked for, 200 at most."""
    written = given.get("limit", "50")
    if not (written.isascii() and written.isdigit() and 1 <= int(written[:6]) <= MAX_LIMIT):
        raise Refused(f"limit must be a whole number from 1 to {MAX_LIMIT}.", "limit")
    return int(written)


def cursor(given: dict[str, str], form: str) -> str | None:
    """Return where to go on, which has the form of those that pages give."""
    written = given.get("cursor")
    if written is not None and not re.fullmatch(form, written, re.ASCII):
        raise Refused("cursor must be one that a page had as next_cursor.", "cursor")
    return written


def flag(given: dict[str, str], name: str) -> bool | None:
    """Return a parameter that is true or false, None where it is left out."""
    if given.get(name, "true") not in ("true", "false"):
        raise Refused(f"{name} must be true or false.", name)
    return given[name] == "true" if name in given else None


def time(given: dict[str, str], name: str) -> datetime | None:
    """Return a parameter that is a time."""
    if name not in given:
        return None
    try:
        return clock.parse(given[name])
    except (ValueError, OverflowError) as error:
        raise Refused(f"{name}: {error}.", name) from None


def filters(request: web.Request, given: dict[str, str]) -> Filters:
    """Return what deliveries to look for, within what is the caller's to see."""
    state = given.get("state")
    if state is not None and state not in STATES:
        raise Refused(f"state must be one of {', '.join(STATES)}.", "state")
    return Filters(
        project_id=scope(request, given.get("project")),
        webhook_id=given.get("webhook"),
        state=state,
        status=given["status"].replace("_", " ") if "status" in given else None,
        event_type=given.get("type"),
        event_id=given.get("event"),
        cause=given.get("cause"),
        since=time(given, "since"),
        until=time(given, "until"),
        q=given.get("q"),
    )


FILTERS = ("project", "webhook", "state", "status", "type", "event", "cause", "since", "until", "q")


def checked(rule: Callable[..., T], value: Any, *more: Any) -> T | None:
    """Apply a rule of `validation` to a value that may be left out."""
    return None if value is None else rule(value, *more)


def answer(value: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.json_response(value, status=status)


def page(items: list[dict[str, Any]], next_cursor: str | None, **more: object) -> web.Response:
    """Answer with a list and where it goes on."""
    return answer({"items": items, "next_cursor": next_cursor, **more})
