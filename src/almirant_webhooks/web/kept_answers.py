"""Answers to forms that have an address of their own, where no script gives them one.

An answer to a POST is at no address: a browser that goes back to it asks whether to send the form again. So what was
refused is kept sealed for a while, and the browser is led to it. A preview is not: it shows what events have, which may be erased.
"""

from __future__ import annotations

import secrets
from contextlib import suppress

from aiohttp import hdrs, web

from ..model import NotFound, Refused
from ..rules.principals import Principal
from ..rules.texts import Text
from ..storage.engine import StorageError
from .context import PRINCIPAL, context, principal
from .guard import Handler
from .pages.page import IS_UNSCRIPTED, people
from .request_keys import Keyed

_PATH = "/answers"
_NEWEST = 20  # answers of a session, of which older ones are forgotten
_MOST_TEXT = 64 * 1024  # characters of one; a larger one is given at once, at no address


@web.middleware
async def lead_there(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lead a browser without scripts to the answer that its form has; one that cannot be kept is given at once."""
    answer = await handler(request)
    caller = request.get(PRINCIPAL)
    if not request.get(IS_UNSCRIPTED) or not 400 <= answer.status < 500 or caller is None:
        return answer
    key = secrets.token_urlsafe(16)
    with suppress(StorageError, Refused):
        if await _keyed(request, caller, key).keep(answer, most=_MOST_TEXT, newest=_NEWEST):
            return web.Response(status=303, headers={hdrs.LOCATION: f"{_PATH}/{key}"})
    return answer


@people
async def show(request: web.Request) -> web.Response:
    """Show the answer that a form of this session had."""
    answer = None
    with suppress(Refused):  # sealed with a key that was taken away since
        answer = await _keyed(request, principal(request), request.match_info["id"]).look()
    if answer is None:
        raise NotFound(Text("What was answered here is not kept any more."), "id")
    return answer


def _keyed(request: web.Request, caller: Principal, key: str) -> Keyed:
    return Keyed(context(request), f"answers {caller.id}", key, "", keeps_results=False)


def add(app: web.Application) -> None:
    """Add the route."""
    app.add_routes([web.get(rf"{_PATH}/{{id:[\w-]{{22}}}}", show)])
