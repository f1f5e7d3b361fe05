"""Sign in with the operator's token, sign out, and sign in again without losing what was typed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from aiohttp import hdrs, web

from ... import clock
from ...actions import sessions as actions
from ...model import NotFound
from ...rules.principals import Role
from ...rules.texts import Text
from ...storage.engine import SessionRow
from .. import framing, sessions
from ..context import PRINCIPAL, context
from ..guard import SIGN_IN, allow, authenticate
from ..limits import Failures
from .form_keys import TYPED_FOR
from .page import FRONT, local_path, read_form, redirect, show
from .portal import remember_next

_PROBLEM = Text("This is not the operator's token.")


@allow()
async def front(request: web.Request) -> web.Response:
    """Go to the webhooks, or to sign in first."""
    raise redirect("/webhooks" if request[PRINCIPAL] is not None else SIGN_IN)


@allow()
async def ask(request: web.Request) -> web.Response:
    """Show the form for the token; a link that is opened next leads to the page that was asked for."""
    next_page = local_path(request.query.get("next", ""), "")
    if framing.is_framed(request):
        return _not_signed_in(request, next_page)
    answer = show(request, "sign_in.html", problem="", next=next_page or "/webhooks", again=None)
    if next_page:
        remember_next(request, answer, next_page)
    return answer


@allow()
async def sign_out(request: web.Request) -> web.Response:
    """End the session of this browser."""
    answer = web.Response(status=303, headers={hdrs.LOCATION: SIGN_IN})
    caller = request[PRINCIPAL]
    if caller is not None and caller.session is not None:
        with suppress(NotFound):
            await actions.end(context(request), caller, caller.session, now=clock.now())
    sessions.delete_cookie(request, answer)
    return answer


@allow()
async def ends(request: web.Request) -> web.Response:
    """Answer when the session ends, as a page asks that stays open: other tabs make it last longer, and this does not."""
    caller = request[PRINCIPAL]
    at = clock.text(caller.expires_at) if caller is not None and caller.expires_at else None
    return web.json_response({"ends_at": at})


@allow()
async def renew(request: web.Request) -> web.Response:
    """Let the session last longer, as somebody who is warned of its end asks for; answer when it ends then."""
    caller = request[PRINCIPAL]
    if caller is None:
        return web.json_response({"ends_at": None})
    await sessions.renew(request, caller, at_once=True)
    row = await sessions.row_of(request)
    return web.json_response({"ends_at": row["expires_at"] if row is not None else None})


async def ask_again(request: web.Request, row: SessionRow | None) -> web.Response:
    """Show who sent a form after their session had ended how to sign in again, with the form to send once more."""
    fields = [(name, str(value)) for name, value in (await read_form(request)).items()]
    if row is not None:
        fields.append((TYPED_FOR, row["project_id"] or ""))
    again = {"action": request.path, "fields": fields}
    return _not_signed_in(request, FRONT, again) if framing.is_framed(request) else _ask_again(request, again, "")


def _not_signed_in(request: web.Request, next_page: str, again: dict[str, Any] | None = None) -> web.Response:
    """Say in a frame, where no token is asked for, that there is no session, with the way to a tab or the form to send once more."""
    framing.allow_for_all(request)
    return show(request, "framed.html", status=401, next=next_page or FRONT, again=again)


def _ask_again(request: web.Request, again: dict[str, Any], problem: str) -> web.Response:
    return show(request, "sign_in.html", status=401, problem=problem, next="/webhooks", again=_with_text(again))


def _with_text(again: dict[str, Any]) -> dict[str, Any]:
    return {**again, "text": json.dumps(again["fields"])}


def _read_again(form: Any) -> dict[str, Any] | None:
    """Return the form that is to be sent once more, if there is one."""
    action = local_path(form.get("action", ""), "")
    try:
        fields = [(str(name), str(value)) for name, value in json.loads(str(form.get("again", "")))]
    except (ValueError, TypeError):
        return None
    return {"action": action, "fields": fields} if action else None


def add(app: web.Application, failures: Failures) -> None:
    """Add the routes; wrong tokens count together with those of the API."""

    @allow()
    async def sign_in(request: web.Request) -> web.Response:
        form = await read_form(request)
        next_page, again = local_path(form.get("next", ""), "/webhooks"), _read_again(form)
        try:
            caller = await authenticate(request, str(form.get("token", "")).strip(), failures)
        except web.HTTPUnauthorized:
            caller = None
        if caller is None or caller.role is not Role.OPERATOR:
            if again is not None:
                return _ask_again(request, again, _PROBLEM)
            return show(
                request, "sign_in.html", status=401, place=SIGN_IN, problem=_PROBLEM, next=next_page, again=None
            )
        ctx = context(request)
        started = await actions.start(
            ctx, caller, now=clock.now(), signing_key=ctx.keys.signing_key, replaced=request[PRINCIPAL]
        )
        if again is None:
            answer = web.Response(status=303, headers={hdrs.LOCATION: next_page})
        else:
            request[PRINCIPAL] = caller
            answer = show(request, "send_again.html", again=again, place="")  # a reload would lose what was typed
        sessions.set_cookie(request, answer, started.cookie)
        return answer

    app.add_routes(
        [
            web.get("/", front),
            web.get(SIGN_IN, ask),
            web.post(SIGN_IN, sign_in),
            web.post("/sign-out", sign_out),
            web.get("/session", ends, allow_head=False),
            web.post("/session/renew", renew),
        ]
    )
