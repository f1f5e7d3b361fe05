"""The field `filter` of a body: its type, its schema, and its value with numbers in their author's spelling."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import WithJsonSchema

from ...model import Refused
from ...rules import paths
from ...rules.conditions import OPERATORS
from ...rules.filters import MAX_CONDITIONS
from ..bodies import read_json
from . import parsing

_FILTER = {
    "type": ["array", "null"],
    "maxItems": MAX_CONDITIONS,
    "items": {
        "type": "object",
        "properties": {"field": {"type": "string"}, "op": {"enum": list(OPERATORS)}, "value": {}},
        "required": ["field", "op"],
    },
}
Filter = Annotated[list[Any] | None, WithJsonSchema(_FILTER)]


async def filter_of(request: web.Request, value: object) -> object:
    """Return a body's filter with numbers in their author's spelling, or raise `Refused`."""
    if not value:
        return value
    written = paths.read(parsing.as_written((await read_json(request)).decode(), "filter"))
    if written is paths.MISSING:
        raise Refused(
            "filter has NaN or Infinity, which JSON does not have; write a number, or a text in quotes.", "filter"
        )
    return written
