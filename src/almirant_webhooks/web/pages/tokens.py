"""The API tokens of a project: made, shown once, listed and revoked."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...actions import tokens as actions
from ...actions.tokens import NewProjectToken
from ...model import NotFound, Refused
from ...rules.texts import Text
from ...storage.engine import MOST_TOKENS
from ..context import context, principal, scope
from . import questions
from .page import changing, check_params, people, read_form, redirect, show


@people
async def list_(request: web.Request) -> web.Response:
    """Show the tokens of a project, or those of all to the operator."""
    check_params(request, "project")
    return await _show(request, request.query.get("project", "").strip())


async def _show(
    request: web.Request,
    project: str,
    *,
    made: NewProjectToken | None = None,
    name: str = "",
    errors: dict[str, str] | None = None,
) -> web.Response:
    ctx = context(request)
    rows = await ctx.read(ctx.reading.project_tokens.listed, scope(request, project or None), MOST_TOKENS)
    return show(
        request,
        "tokens.html",
        status=422 if errors else 200,
        section="/tokens",
        project=project,
        made=made,
        form={"errors": errors or {}, "name": name},
        rows=sorted(rows, key=lambda row: row["created_at"], reverse=True),
    )


@people
async def create(request: web.Request) -> web.Response:
    """Make a token and show it, this once."""
    form, own = await read_form(request), principal(request).project_id
    project, name = (str(form.get(field, "")).strip() for field in ("project_id", "name"))
    try:
        made = await actions.make_project_token(
            context(request), principal(request), now=clock.now(), project_id=own or project or None, name=name or None
        )
    except NotFound:
        raise
    except Refused as refused:
        return await _show(request, "", name=name, errors=refused.by_field())
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
