"""The JSON API under `/api/v1` (contract, section 7), from one table of routes."""

from __future__ import annotations

from aiohttp import web

from ..guard import allow
from . import deliveries, events, openapi, webhooks
from .routes import Route

ROUTES: tuple[Route, ...] = (*webhooks.ROUTES, *deliveries.ROUTES, *events.ROUTES)


def add(app: web.Application) -> None:
    """Add every route of the table, and the document that describes them."""
    document = openapi.describe(ROUTES)

    @allow()
    async def described(_: web.Request) -> web.Response:
        return web.json_response(document)

    for route in ROUTES:
        app.router.add_route(route.method, route.path, allow(*route.roles, writes=route.writes)(route.handler))
    app.router.add_get("/openapi.json", described)
