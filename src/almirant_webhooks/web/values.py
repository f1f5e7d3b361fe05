"""What a request says in its URL, body or form: text that is text, each name once, and whole numbers by one rule."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from ..model import Refused
from .guard import Handler

_WHOLE = re.compile(r"0|[1-9][0-9]*")
CURSOR = 2**62  # above every row's number


def is_text(value: str) -> bool:
    """Tell whether a text can be stored and shown: no NUL, and no half of a surrogate pair, which UTF-8 cannot write."""
    return "\0" not in value and (value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value))


def check_text(value: object, name: str) -> None:
    """Raise `Refused` for text that is none, in lists and objects too."""
    if isinstance(value, str) and not is_text(value):
        raise Refused(f"{name} holds a NUL or half of a surrogate pair, which is not text.", name)
    if isinstance(value, Mapping):
        for key, one in value.items():
            check_text(key, name)
            check_text(one, name)
    elif isinstance(value, (list, tuple)):
        for one in value:
            check_text(one, name)


def whole(text: str, name: str, least: int, most: int) -> int:
    """Return a whole number in ASCII digits without leading zeros, or raise `Refused`."""
    if len(text) > len(str(most)) or not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise Refused(f"{name} must be a whole number from {least} to {most}.", name)
    return int(text)


def cursor(text: str, form: str) -> str:
    """Return where a list goes on, which has the form of those that its pages give, or raise `Refused`."""
    if not re.fullmatch(form, text, re.ASCII):
        raise Refused("cursor must be one that a page had as next_cursor.", "cursor")
    return text


def row_cursor(text: str) -> int:
    """Return where a list of numbered rows goes on, or raise `Refused`."""
    try:
        return whole(text, "cursor", 0, CURSOR)
    except Refused:
        raise Refused("cursor must be one that a page had as next_cursor.", "cursor") from None


@web.middleware
async def check_url(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a URL that cannot mean what it says: bytes that are no text, or a parameter that is there twice."""
    if not is_text(request.path):
        raise web.HTTPBadRequest(text="This address is not text: it holds a NUL, or bytes that are not UTF-8.")
    for name, value in request.query.items():
        check_text(name, "A parameter's name")
        check_text(value, name)
        if len(request.query.getall(name)) > 1:
            raise Refused(f"{name} is given more than once.", name)
    return await handler(request)
