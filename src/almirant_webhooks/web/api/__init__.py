"""The JSON API under `/api/v1` (contract, section 7), from one table of routes."""

from __future__ import annotations

import functools
from typing import Any

from aiohttp import hdrs, web

from ..address import base
from ..guard import Handler, allow
from ..values import check_names
from . import activity, daemons, deliveries, erasing, events, openapi, previews, replays, tokens, webhooks
from .routes import Route

ROUTES: tuple[Route, ...] = (
    *webhooks.ROUTES,
    *previews.ROUTES,
    *activity.ROUTES,
    *replays.ROUTES,
    *deliveries.ROUTES,
    *events.ROUTES,
    *erasing.ROUTES,
    *tokens.ROUTES,
    *daemons.ROUTES,
)


def _checked(route: Route) -> Handler:
    """Return the route's handler, which is called with no parameter that the route does not have."""

    @functools.wraps(route.handler)
    async def handler(request: web.Request) -> web.StreamResponse:
        check_names(request.query, route.parameters)
        return await route.handler(request)

    return handler


@functools.cache
def _document() -> dict[str, Any]:
    return openapi.describe(ROUTES)


def add(app: web.Application) -> None:
    """Add every route of the table, and the document that describes them."""
    document = _document()

    @allow(knows_nobody=True)
    async def described(request: web.Request) -> web.Response:
        return web.json_response({**document, "servers": [{"url": base(request) or "/"}]})

    for route in ROUTES:
        handler = allow(*route.roles, writes=route.writes)(_checked(route))
        if route.method == hdrs.METH_GET and not route.writes:
            app.router.add_get(route.path, handler)  # HEAD too
        else:
            app.router.add_route(route.method, route.path, handler)
    app.router.add_get("/openapi.json", described)
