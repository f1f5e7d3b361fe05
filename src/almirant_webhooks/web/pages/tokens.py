"""The API tokens of a project: made, shown once, listed and revoked."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...actions import tokens as actions
from ...actions.tokens import NewProjectToken
from ...model import NotFound, Refused
from ...storage.engine import MOST_TOKENS
from ..context import context, principal, scope
from .page import check_params, people, read_form, redirect, show


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
            web.post("/tokens/{id:ptk_[^/]+}/revoke", revoke),
        ]
    )
