"""Who is signed in, for the operator, who can end each session; and which daemons share a database."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...actions import sessions as actions
from ...rules import principals
from ...rules.principals import Role
from ..context import context, principal
from ..guard import allow
from .page import check_params, redirect, show

_MOST = 200
_operator = allow(Role.OPERATOR)


@_operator
async def list_(request: web.Request) -> web.Response:
    """Show the sessions that have not expired, the newest first."""
    check_params(request)
    ctx = context(request)
    key = principals.key_digest(ctx.keys.signing_key)
    rows = await ctx.read(ctx.reading.sessions.under_way, key, clock.text(clock.now()), _MOST)
    daemons = await ctx.read(ctx.reading.daemons.listed)
    return show(request, "sessions.html", section="/sessions", rows=rows, most=_MOST, daemons=daemons)


@_operator
async def end(request: web.Request) -> web.Response:
    """End a session: from the commit on it opens nothing."""
    await actions.end(context(request), principal(request), request.match_info["id"], now=clock.now())
    raise redirect("/sessions", done="ended")


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes([web.get("/sessions", list_), web.post("/sessions/{id:ses_[^/]+}/end", end)])
