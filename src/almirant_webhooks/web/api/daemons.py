"""`/api/v1/daemons`: which daemons are on the database, and what each owns."""

from __future__ import annotations

from aiohttp import web

from ...rules.principals import Role
from ..context import context
from . import answers, parsing
from .routes import Route


async def list_(request: web.Request) -> web.Response:
    """Those that share the projects; none where the database is a file, which has a single one."""
    ctx = context(request)
    answer: answers.DaemonPage = {"items": await ctx.read(ctx.reading.daemons.listed), "next_cursor": None}
    return parsing.answer(answer)


ROUTES = (
    Route("GET", "/api/v1/daemons", "listDaemons", list_, "List the daemons that share the projects", {200: answers.DaemonPage},
          roles=(Role.OPERATOR,)),
)  # fmt: skip
