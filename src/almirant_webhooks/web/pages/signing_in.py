"""Sign in with the operator's token, come by a link to a project, sign out."""

from __future__ import annotations

import time

from aiohttp import hdrs, web

from ...rules import principals
from ...rules.principals import Role
from ..context import PRINCIPAL, context
from ..guard import SIGN_IN, allow, authenticate, end_session, start_session
from ..limits import Failures
from .page import local_path, read_form, redirect, show


@allow()
async def front(request: web.Request) -> web.Response:
    """Go to the webhooks, or to sign in first."""
    raise redirect("/webhooks" if request[PRINCIPAL] is not None else SIGN_IN)


@allow()
async def ask(request: web.Request) -> web.Response:
    """Show the form for the token."""
    return show(request, "sign_in.html", problem="", next=local_path(request.query.get("next", ""), "/webhooks"))


@allow()
async def portal(request: web.Request) -> web.Response:
    """Take the link to a project, whose session ends when the link does."""
    key = context(request).keys.signing_key
    caller = principals.read(key, principals.LINK, request.match_info["link"], time.time())
    if caller is None:
        raise web.HTTPForbidden(
            text="This link has expired or is not whole. Ask for a new one in the project's settings."
        )
    answer = web.Response(status=303, headers={hdrs.LOCATION: "/webhooks"})
    start_session(request, answer, caller)
    return answer


@allow()
async def sign_out(request: web.Request) -> web.Response:
    """End the session of this browser."""
    answer = web.Response(status=303, headers={hdrs.LOCATION: SIGN_IN})
    end_session(request, answer)
    return answer


def add(app: web.Application, failures: Failures) -> None:
    """Add the routes; wrong tokens count together with those of the API."""

    @allow()
    async def sign_in(request: web.Request) -> web.Response:
        form = await read_form(request)
        target = local_path(form.get("next", ""), "/webhooks")
        problem = "This is not the operator's token; `almirant-webhooks token` prints it."
        try:
            caller = await authenticate(request, str(form.get("token", "")).strip(), failures)
        except web.HTTPUnauthorized:
            caller = None
        if caller is None or caller.role is not Role.OPERATOR:
            return show(request, "sign_in.html", status=401, problem=problem, next=target)
        answer = web.Response(status=303, headers={hdrs.LOCATION: target})
        start_session(request, answer, caller)
        return answer

    app.add_routes(
        [
            web.get("/", front),
            web.get(SIGN_IN, ask),
            web.post(SIGN_IN, sign_in),
            web.post("/sign-out", sign_out),
            web.get("/portal/{link}", portal),
        ]
    )
