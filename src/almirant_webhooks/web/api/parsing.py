"""From a request to values: JSON bodies by a model, filters by their names; what is wrong is named with its field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from ... import clock
from ...model import Refused
from ...rules import selection
from ...storage.sqlite.search import Filters
from .. import values
from ..context import context, scope
from ..limits import in_time
from ..values import check_text, whole

MAX_LIMIT = 200

M = TypeVar("M", bound="Body")


class Body(BaseModel):
    """What a request's body may hold; other fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


async def body(request: web.Request, model: type[M], as_spelled: str = "") -> M:
    """Read the body as JSON of a model (none is an empty object); raises `Refused` with the field.

    What is in the field `as_spelled` is passed on in its author's spelling, and looked at there.
    """
    await context(request).end_reading()
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
        if name != as_spelled:
            check_text(value, name)
    return found


def check_query(request: web.Request, known: Sequence[str]) -> None:
    """Raise `Refused` for a parameter of the URL that the route does not have: whoever wrote it relies on it."""
    for name in request.query:
        if name not in known:
            there = f"known are {', '.join(known)}" if known else "this route has none"
            raise Refused(f"There is no parameter {name!r}; {there}.", name)


def query(request: web.Request) -> dict[str, str]:
    """Return the parameters of the URL, each once and known to the route; empty ones are left out."""
    return {name: value for name, value in request.query.items() if value != ""}


def limit(given: dict[str, str]) -> int:
    """Return how many items a page has: 50, or what was asked for, 200 at most."""
    return whole(given.get("limit", "50"), "limit", 1, MAX_LIMIT)


def cursor(given: dict[str, str], form: str) -> str | None:
    """Return where to go on, which has the form of those that pages give."""
    return values.cursor(given["cursor"], form) if "cursor" in given else None


def row_cursor(given: dict[str, str]) -> int | None:
    """Return the number of the row to go on after."""
    return values.row_cursor(given["cursor"]) if "cursor" in given else None


def flag(given: dict[str, str], name: str) -> bool | None:
    """Return a parameter that is true or false, None where it is left out."""
    if given.get(name, "true") not in ("true", "false"):
        raise Refused(f"{name} must be true or false.", name)
    return given[name] == "true" if name in given else None


def time(given: dict[str, str], name: str) -> datetime | None:
    """Return a parameter that is a time, or how long ago it was."""
    return selection.moment(given[name], name, clock.now()) if name in given else None


def filters(request: web.Request, given: dict[str, str]) -> Filters:
    """Return what deliveries to look for, within what is the caller's to see."""
    wanted = {column: given[name] for name, column in _COLUMNS.items() if name in given}
    project = scope(request, given.get("project"))
    return Filters(project_id=project, **selection.read(wanted, clock.now()))


_COLUMNS = {
    "webhook": "webhook_id",
    "type": "event_type",
    "event": "event_id",
    **{name: name for name in ("state", "status", "cause", "since", "until", "q")},
}
FILTERS = ("project", "webhook", "state", "status", "type", "event", "cause", "since", "until", "q")


def answer(value: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.json_response(value, status=status)


def page(items: list[dict[str, Any]], next_cursor: str | None, **more: object) -> web.Response:
    """Answer with a list and where it goes on."""
    return answer({"items": items, "next_cursor": next_cursor, **more})
