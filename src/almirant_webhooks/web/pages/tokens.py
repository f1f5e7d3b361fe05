"""The API tokens of a project: made, shown once, listed and revoked."""

from __future__ import annotations

from typing import Any, cast

from aiohttp import web

from ... import clock
from ...actions import tokens as actions
from ...actions.tokens import NewProjectToken
from ...model import NotFound, Refused
from ...rules.texts import Text
from ...storage.engine import MOST_TOKENS
from ..context import context, principal, scope
from ..request_keys import take
from . import questions
from .page import IS_UNSCRIPTED, changing, check_params, is_looked_at, people, read_form, redirect, show

_SHOWN = Text("A token is shown here once. If you do not have it, revoke it and make another.")


@people
async def list_(request: web.Request) -> web.Response:
    """Show the tokens of a project, or those of all to the operator; and one that was made just now, this once."""
    check_params(request, "project", "made")
    key, made = request.query.get("made", ""), None
    if key and is_looked_at(request):
        for one in await take(context(request), principal(request).id, key):
            made = cast("NewProjectToken", one) if isinstance(one, dict) and "token" in one else None
    return await _show(request, request.query.get("project", "").strip(), made=made, was_made=bool(key))


async def _show(
    request: web.Request,
    project: str,
    *,
    made: NewProjectToken | None = None,
    was_made: bool = False,
    name: str = "",
    errors: dict[str, str] | None = None,
) -> web.Response:
    ctx = context(request)
    rows = await ctx.read(ctx.reading.project_tokens.listed, scope(request, project or None), MOST_TOKENS)
    notice: dict[str, Any] = {"notice": _SHOWN} if was_made and made is None else {}
    return show(
        request,
        "tokens.html",
        status=422 if errors else 200,
        section="/tokens",
        project=project,
        made=made,
        form={"errors": errors or {}, "name": name},
        rows=sorted(rows, key=lambda row: row["created_at"], reverse=True),
        **notice,
    )


@people
async def create(request: web.Request) -> web.Response:
    """Make a token and show it, this once: without scripts at an address of its own."""
    ctx = context(request)
    form, own = await read_form(request), principal(request).project_id
    project, name = (str(form.get(field, "")).strip() for field in ("project_id", "name"))
    try:
        made = await actions.make_project_token(
            ctx, principal(request), now=clock.now(), project_id=own or project or None, name=name or None
        )
    except NotFound:
        raise
    except Refused as refused:
        return await _show(request, "", name=name, errors=refused.by_field())
    if request.get(IS_UNSCRIPTED) and ctx.keyed is not None:
        raise redirect("/tokens", **({} if own else {"project": project}), made=ctx.keyed.key_digest)
    return await _show(request, "" if own else project, made=made)


@changing
async def ask_revoke(request: web.Request) -> web.Response:
    """Ask, as what uses the token is refused at once."""
    ctx, token_id = context(request), request.match_info["id"]
    rows = await ctx.read(ctx.reading.project_tokens.listed, scope(request), MOST_TOKENS)
    names = [row["name"] for row in rows if row["id"] == token_id]
    if not names:
        raise NotFound(Text("There is no API token {token_id}.", token_id=token_id), "id")
    return questions.ask(
        request,
        f"/tokens/{token_id}/revoke",
        Text("Revoke the token {name}", name=names[0]),
        [Text("Every program that uses it is refused from then on. This cannot be undone.")],
        [("yes", "1", Text("Revoke for good"), "is-danger")],
        section="/tokens",
        above=Text("API tokens"),
        back="/tokens",
    )


@people
async def revoke(request: web.Request) -> web.Response:
    """Remove a token: it opens nothing from then on."""
    await actions.revoke_project_token(context(request), principal(request), request.match_info["id"], now=clock.now())
    raise redirect("/tokens", done="revoked")


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes(
        [
            web.get("/tokens", list_),
            web.post("/tokens", create),
            web.get("/tokens/{id:ptk_[^/]+}/revoke", ask_revoke),
            web.post("/tokens/{id:ptk_[^/]+}/revoke", revoke),
        ]
    )
