"""Who is signed in, for the operator, who can end each session; and which daemons share a database."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...actions import sessions as actions
from ...model import NotFound
from ...rules import principals
from ...rules.principals import Role
from ...rules.sentences import At
from ...rules.texts import Text
from ...storage.engine import SessionRow
from ..context import context, principal
from ..guard import allow
from . import naming, questions
from .page import check_params, redirect, show

_MOST = 200
_operator = allow(Role.OPERATOR)


@_operator
async def list_(request: web.Request) -> web.Response:
    """Show the sessions that have not expired, the newest first."""
    check_params(request)
    ctx = context(request)
    rows = await _under_way(request)
    daemons = await ctx.read(ctx.reading.daemons.listed)
    return show(request, "sessions.html", section="/sessions", rows=rows, most=_MOST, daemons=daemons)


async def _under_way(request: web.Request) -> list[SessionRow]:
    ctx = context(request)
    key = principals.key_digest(ctx.keys.signing_key)
    return await ctx.read(ctx.reading.sessions.under_way, key, clock.text(clock.now()), _MOST)


@_operator
async def ask_end(request: web.Request) -> web.Response:
    """Ask, as who is in loses what they are at."""
    session_id = request.match_info["id"]
    row = next((row for row in await _under_way(request) if row["id"] == session_id), None)
    if row is None:
        raise NotFound(Text("There is no session {session_id}.", session_id=session_id), "id")
    return questions.ask(
        request,
        f"/sessions/{session_id}/end",
        Text("End the session of {name}", name=row["actor"] or naming.role(row["role"])),
        [
            Text("It has run since {at}.", at=At(row["created_at"])),
            Text("It opens nothing from then on: who is in has to sign in again, and may lose what is not saved."),
        ],
        [("yes", "1", Text("End the session"), "is-danger")],
        section="/sessions",
        above=Text("Sessions"),
        back="/sessions",
    )


@_operator
async def end(request: web.Request) -> web.Response:
    """End a session: from the commit on it opens nothing."""
    await actions.end(context(request), principal(request), request.match_info["id"], now=clock.now())
    raise redirect("/sessions", done="ended")


def add(app: web.Application) -> None:
    """Add the routes."""
    path = "/sessions/{id:ses_[^/]+}/end"
    app.add_routes([web.get("/sessions", list_), web.get(path, ask_end), web.post(path, end)])
