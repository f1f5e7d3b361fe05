"""`/api/v1/tokens` and `/portal-links`: API tokens of a project, and the way to its pages."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...actions import tokens as actions
from ...rules.principals import Role
from ..context import context, principal
from . import answers, parsing
from .parsing import Body
from .routes import Route


class Token(Body):
    """A token's project, and a name by which it is listed and revoked."""

    project_id: str | None = None
    name: str | None = None


class Link(Body):
    """A link to the pages of one project: how long it can be used (`15m`), for whom it is, and where it leads."""

    project_id: str
    expires: str = "15m"
    actor: str | None = None
    read_only: bool = False
    next: str | None = None


async def create(request: web.Request) -> web.Response:
    """With the token itself, this once."""
    fields = await parsing.body(request, Token)
    made = await actions.make_project_token(
        context(request), principal(request), now=clock.now(), project_id=fields.project_id, name=fields.name
    )
    return parsing.answer(made, 201)


async def list_(request: web.Request) -> web.Response:
    """By their ids, never the tokens themselves."""
    params = parsing.query(request)
    limit = parsing.limit(params)
    ctx = context(request)
    after = parsing.cursor(params, r"ptk_\w{1,64}") or ""
    rows = await ctx.read(ctx.reading.project_tokens.listed, parsing.project(request, params), limit + 1, after)
    page: answers.ProjectTokenPage = {
        "items": rows[:limit],
        "next_cursor": rows[limit - 1]["id"] if len(rows) > limit else None,
    }
    return parsing.answer(page)


async def revoke(request: web.Request) -> web.Response:
    """From then on it opens nothing."""
    await actions.revoke_project_token(context(request), principal(request), request.match_info["id"], now=clock.now())
    return web.Response(status=204)


async def portal_link(request: web.Request) -> web.Response:
    """So that an application's own page can link to a project's webhooks."""
    fields = await parsing.body(request, Link)
    ctx = context(request)
    link = await actions.make_link(
        ctx,
        principal(request),
        now=clock.now(),
        settings=ctx.settings,
        signing_keys=ctx.keys,
        project_id=fields.project_id,
        expires=fields.expires,
        actor=fields.actor,
        read_only=fields.read_only,
        leads_to=fields.next,
    )
    answer: answers.PortalLink = {"project_id": link.project_id, "url": link.url, "expires_at": link.expires_at}
    return parsing.answer(answer, 201)


_TOKENS = "/api/v1/tokens"
ROUTES = (
    Route("POST", _TOKENS, "createToken", create, "Make an API token of a project", {201: answers.NewProjectToken}, body=Token),
    Route("GET", _TOKENS, "listTokens", list_, "List the API tokens of a project", {200: answers.ProjectTokenPage},
          parameters=("project", "limit", "cursor")),
    Route("DELETE", f"{_TOKENS}/{{id}}", "revokeToken", revoke, "Revoke an API token of a project", {204: None}),
    Route("POST", "/api/v1/portal-links", "createPortalLink", portal_link, "Make a link to the pages of one project", {201: answers.PortalLink},
          roles=(Role.OPERATOR,), body=Link),
)  # fmt: skip
