"""The cookie of a browser's session: set, read, renewed by use, and taken away."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from aiohttp import web

from .. import clock
from ..actions import sessions as actions
from ..rules import principals
from ..rules.principals import Principal
from ..storage.engine import SessionRow, StorageError
from . import framing
from .address import base, is_secure
from .context import PRINCIPAL, context

COOKIE = "almirant_webhooks"
_COOKIE_LASTS = principals.SESSION_ENDS + timedelta(days=1)  # so that a form that comes too late says whose it was


async def row_of(request: web.Request) -> SessionRow | None:
    """Return the session that the request's cookie names, expired or not, or None.

    One that was begun in a frame counts where no other is under way.
    """
    row = await _find(request, request.cookies.get(COOKIE, ""))
    if row is None or caller_of(request, row) is None:
        row = await _find(request, framing.cookie_of(request)) or row
    return row


async def _find(request: web.Request, cookie: str) -> SessionRow | None:
    ctx = context(request)
    return await ctx.read(ctx.reading.sessions.find, principals.digest(cookie)) if cookie else None


def caller_of(request: web.Request, row: SessionRow | None) -> Principal | None:
    """Return who a session is, None for one that is over."""
    return None if row is None else actions.of_row(row, context(request).keys.signing_key, clock.now())


def set_cookie(request: web.Request, response: web.StreamResponse, cookie: str) -> None:
    """Give the browser the cookie of a session that has begun; the session's row says when it ends."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(_COOKIE_LASTS.total_seconds()),
        path=base(request) or "/",
        httponly=True,
        samesite="Lax",
        secure=is_secure(request),
    )


def set_project_cookie(request: web.Request, response: web.StreamResponse, cookie: str) -> None:
    """Give the browser the cookie of a project's session, which can be begun in a frame."""
    if framing.is_framed(request):
        framing.set_cookie(response, cookie, base(request) or "/", int(_COOKIE_LASTS.total_seconds()))
    else:
        set_cookie(request, response, cookie)


def delete_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Take the cookie from the browser, in a frame too."""
    response.del_cookie(COOKIE, path=base(request) or "/")
    if framing.cookie_of(request):
        framing.set_cookie(response, "", base(request) or "/", 0)


async def renew(request: web.Request, caller: Principal, *, at_once: bool = False) -> None:
    """Let a session last longer, as it is used: a write every few minutes. A page that refreshes itself is no use."""
    if not at_once and ("X-Live" in request.headers or not principals.is_to_be_renewed(caller, clock.now())):
        return
    ctx = context(request)
    await ctx.end_reading()
    with suppress(StorageError):
        request[PRINCIPAL] = await actions.renew(ctx.aside(), caller, now=clock.now())
