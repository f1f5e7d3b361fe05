"""Come in by a link: a button that uses it up, so that a mail scanner, which only looks, does not."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from urllib.parse import quote, unquote

from aiohttp import hdrs, web

from ... import clock
from ...actions import sessions as actions
from ...model import Conflict
from ...rules import links, principals
from ...rules.links import PortalLink
from ...rules.principals import Principal
from ...rules.texts import Text
from .. import framing, sessions
from ..address import base, is_secure
from ..context import PRINCIPAL, context
from ..guard import allow
from .page import FRONT, local_path, read_form, redirect, show

NEXT_COOKIE = "almirant_webhooks_next"
_NEXT_LASTS = 15 * 60  # seconds
_PRESSED_TWICE = timedelta(minutes=1)  # between the presses
_MAX_NEXT = 2000
_OVER = Text("This link has expired or is not whole. Ask for a new one in the project's settings.")
_USED = Text("This link was used already: each opens the pages once. Ask for a new one in the project's settings.")


def remember_next(request: web.Request, response: web.StreamResponse, next_page: str) -> None:
    """Let a link that is opened soon lead to the page that was asked for without a session."""
    if len(next_page) <= _MAX_NEXT:
        response.set_cookie(
            NEXT_COOKIE,
            quote(next_page, safe=""),
            max_age=_NEXT_LASTS,
            path=base(request) or "/",
            httponly=True,
            samesite="Lax",
            secure=is_secure(request),
        )


def _next_page(request: web.Request, link: PortalLink) -> str:
    """Return where a link leads: where it says, else to the page that was asked for before."""
    return link.next or local_path(unquote(request.cookies.get(NEXT_COOKIE, "")), FRONT)


def _read(request: web.Request) -> PortalLink:
    link = links.read(context(request).keys.signing_key, request.match_info["link"], time.time())
    if link is None:
        raise web.HTTPForbidden(text=_OVER)
    return link


@allow()
async def ask(request: web.Request) -> web.Response:
    """Show what the link opens, and the button that opens it. Looking uses nothing up."""
    framing.allow_for_all(request)
    link, ctx = _read(request), context(request)
    if await ctx.read(ctx.reading.sessions.is_link_used, principals.digest(request.match_info["link"])):
        if _is_in(request[PRINCIPAL], link):
            raise redirect(_next_page(request, link))
        raise web.HTTPForbidden(text=_USED)
    return _ask(request, link, 200)


def _ask(request: web.Request, link: PortalLink, status: int) -> web.Response:
    caller = request[PRINCIPAL]
    other = None if caller is None or caller.project_id == link.project_id else caller
    return show(
        request,
        "portal.html",
        status=status,
        link=link,
        other=other,
        path=request.path,
        framed=framing.is_framed(request),
        press=secrets.token_urlsafe(16),
    )


def _is_in(caller: Principal | None, link: PortalLink) -> bool:
    return caller is not None and caller.project_id == link.project_id


@allow()
async def come_in(request: web.Request) -> web.Response:
    """Use the link up and begin its session. One of the operator or of another project is left only if that was asked."""
    framing.allow_for_all(request)
    link, caller = _read(request), request[PRINCIPAL]
    form = await read_form(request)
    text, press = request.match_info["link"], str(form.get("press", ""))
    if caller is not None and not _is_in(caller, link) and "replace" not in form:
        return _ask(request, link, 409)
    ctx = context(request)
    try:
        started = await actions.open_link(
            ctx,
            text,
            link,
            now=clock.now(),
            signing_key=ctx.keys.signing_key,
            replaced=caller,
            press=press,
        )
        cookie = started.cookie
    except Conflict:
        if _is_in(caller, link):  # pressed twice
            raise redirect(_next_page(request, link)) from None
        cookie = links.cookie(ctx.keys.signing_key, text, press)
        if not press or not await _has_just_begun(request, cookie):
            raise web.HTTPForbidden(text=_USED) from None
    answer = web.Response(status=303, headers={hdrs.LOCATION: _next_page(request, link)})
    sessions.set_project_cookie(request, answer, cookie)
    answer.del_cookie(NEXT_COOKIE, path=base(request) or "/")
    return answer


async def _has_just_begun(request: web.Request, cookie: str) -> bool:
    """Tell whether the first press of this button has just begun a session, of which the browser has not kept the answer."""
    ctx = context(request)
    row = await ctx.read(ctx.reading.sessions.find, principals.digest(cookie))
    is_new = row is not None and clock.parse(row["created_at"]) > clock.now() - _PRESSED_TWICE
    return is_new and sessions.caller_of(request, row) is not None


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes([web.get("/portal/{link}", ask), web.post("/portal/{link}", come_in)])
