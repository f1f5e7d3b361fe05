"""From a request to values: JSON bodies by a model, selections by their parameters; what is wrong is named with its field."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from json.decoder import WHITESPACE, scanstring  # type: ignore[attr-defined]
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ... import clock
from ...model import Refused
from ...rules import values
from ...rules.selection import AuditSelection, EventSelection, Selection
from ..bodies import read_json
from ..context import context, scope
from ..values import check_names, check_text

MAX_LIMIT = 200
MAX_FIELDS = 100  # of a body; each that is unknown costs work and words

M = TypeVar("M", bound="Body")


class Body(BaseModel):
    """What a request's body may hold; other fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


async def body(request: web.Request, model: type[M], as_spelled: str = "") -> M:
    """Read the body as JSON of a model (none is an empty object); raises `Refused` with the field.

    What is in the field `as_spelled` is passed on in its author's spelling, and looked at there.
    """
    await context(request).end_reading()
    raw = await read_json(request)
    if raw.startswith(codecs.BOM_UTF8):
        raise Refused("The body begins with a byte order mark, which is not JSON: send it without.", "body")
    try:
        params = json.loads(raw.decode("utf-8")) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise Refused("The body must be JSON in UTF-8.", "body") from None
    if isinstance(params, dict) and len(params) > MAX_FIELDS:
        raise Refused(f"The body has more than {MAX_FIELDS} fields.", "body")
    try:
        fields = model.model_validate(params)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        first, *others = [_refusal(detail, model) for detail in details]
        raise Refused(first.message, first.field, others) from None
    for name, value in fields:
        if name != as_spelled:
            check_text(value, name)
    return fields


def as_written(document: str, name: str) -> str:
    """Return the value of a key of a JSON object in its author's own spelling; the last one counts, as for a parser."""
    decoder = json.JSONDecoder()
    text = ""
    at = document.index("{") + 1
    while True:
        at = WHITESPACE.match(document, at).end()
        if document[at] in ",}":
            if document[at] == "}":
                return text
            at += 1
            continue
        key, at = scanstring(document, at + 1, True)
        begin = WHITESPACE.match(document, document.index(":", at) + 1).end()
        _, at = decoder.raw_decode(document, begin)
        if key == name:
            text = document[begin:at]


_WORDS = {
    "missing": "is missing",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def _refusal(detail: ErrorDetails, model: type[Body]) -> Refused:
    """Return in our words what is wrong with one field."""
    field = ".".join(str(part) for part in detail["loc"]) or "body"
    if detail["type"] == "extra_forbidden":
        try:
            check_names([field], list(model.model_fields))
        except Refused as refused:
            return refused
    words = _WORDS.get(detail["type"], detail["msg"])
    if detail["type"] != "missing" and "input" in detail and detail["input"] is None and field != "body":
        info = model.model_fields.get(field)
        words = "cannot be null" if info is None or info.is_required() else "cannot be null; leave it out"
    return Refused(f"{field} {words}.", field)


def query(request: web.Request) -> dict[str, str]:
    """Return the parameters of the URL, each once and known to the route; empty ones are left out."""
    return {name: value for name, value in request.query.items() if value != ""}


def limit(params: Mapping[str, str]) -> int:
    """Return how many items a page has: 50, or what was asked for, 200 at most."""
    return values.whole(params.get("limit", "50"), "limit", 1, MAX_LIMIT)


def cursor(params: Mapping[str, str], form: str) -> str | None:
    """Return where to go on, which has the form of those that pages give."""
    return values.cursor(params["cursor"], "cursor", form) if "cursor" in params else None


def row_cursor(params: Mapping[str, str]) -> int | None:
    """Return the number of the row to go on after."""
    return values.row_cursor(params["cursor"], "cursor") if "cursor" in params else None


def flag(params: Mapping[str, str], name: str) -> bool | None:
    """Return a parameter that is true or false, None where it is left out."""
    return values.flag(params[name], name) if name in params else None


def project(request: web.Request, params: Mapping[str, str]) -> str | None:
    """Return the project to look at: the one that was asked for, or the caller's own (None: all)."""
    asked = values.project_id(params["project"], "project") if "project" in params else None
    return scope(request, asked)


def selection(request: web.Request, params: Mapping[str, str]) -> Selection:
    """Return which deliveries the URL selects, within what is the caller's to see."""
    texts = {field: params.get(name) for field, name in _SELECTION.items()}
    parsed = Selection.parse(texts, clock.now(), _SELECTION)
    return replace(parsed, project_id=scope(request, parsed.project_id))


def event_selection(request: web.Request, params: Mapping[str, str]) -> EventSelection:
    """Return which events the URL selects, within what is the caller's to see."""
    texts = {field: params.get(name) for field, name in _EVENT_SELECTION.items()}
    parsed = EventSelection.parse(texts, clock.now(), _EVENT_SELECTION)
    return replace(parsed, project_id=scope(request, parsed.project_id))


def audit_selection(request: web.Request, params: Mapping[str, str]) -> AuditSelection:
    """Return which entries of the audit trail the URL selects, within what is the caller's to see."""
    texts = {field: params.get(name) for field, name in _AUDIT_SELECTION.items()}
    parsed = AuditSelection.parse(texts, clock.now(), _AUDIT_SELECTION)
    return replace(parsed, project_id=scope(request, parsed.project_id))


# The parameter of each field.
_SELECTION = {
    "project_id": "project",
    "webhook_id": "webhook",
    "state": "state",
    "status": "status",
    "event_type": "type",
    "event_id": "event",
    "cause": "cause",
    "since": "since",
    "until": "until",
    "text": "q",
    "test": "test",
}
_EVENT_SELECTION = {
    "project_id": "project",
    "event_type": "type",
    "unmatched": "unmatched",
    "since": "since",
    "until": "until",
}
_AUDIT_SELECTION = {
    "project_id": "project",
    "webhook_id": "webhook",
    "action": "action",
    "since": "since",
    "until": "until",
}
SELECTION = tuple(_SELECTION.values())
EVENT_SELECTION = tuple(_EVENT_SELECTION.values())
AUDIT_SELECTION = tuple(_AUDIT_SELECTION.values())


def answer(value: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.json_response(value, status=status)


def page(items: Sequence[Mapping[str, Any]], next_cursor: str | None) -> web.Response:
    """Answer with a list and where it goes on."""
    return answer({"items": items, "next_cursor": next_cursor})
