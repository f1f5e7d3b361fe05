"""What a request says in its URL, body or form: text that is text, and each name once and known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl

from aiohttp import web

from ..model import Refused
from ..rules.texts import Text
from ..rules.values import is_text, storable
from .guard import Handler


def check_text(value: object, name: str) -> None:
    """Raise `Refused` for text that is none, in lists and objects too."""
    if isinstance(value, str):
        storable(value, name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_text(key, name)
            check_text(item, name)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_text(item, name)


def check_names(names: Collection[str], known: Collection[str]) -> None:
    """Raise `Refused` for a name that is not known: whoever wrote it relies on it."""
    for name in names:
        if name not in known:
            if not known:
                raise Refused(Text("There is no parameter {name!r}; there is none here.", name=name), name)
            raise Refused(
                Text("There is no parameter {name!r}; known are {known}.", name=name, known=", ".join(known)), name
            )


@web.middleware
async def check_url(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a URL that cannot mean what it says: bytes that are no text, or a parameter that is there twice."""
    if not is_text(request.path):
        raise web.HTTPBadRequest(text=Text("This address is not text: it holds a NUL, or bytes that are not UTF-8."))
    # `request.query` has U+FFFD for encoded bytes that are not UTF-8.
    params = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="surrogateescape")
    for name, value in params:
        storable(name, "A parameter's name")
        storable(value, name)
        if len(request.query.getall(name)) > 1:
            raise Refused(Text("{name} is given more than once.", name=name), name)
    return await handler(request)
