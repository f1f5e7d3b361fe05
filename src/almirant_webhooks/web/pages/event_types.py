"""The catalogue of event types: when each is sent, a sample, and a JSON Schema."""

from __future__ import annotations

from aiohttp import web

from ..context import scope
from .form_fields import families
from .page import check_params, people, show
from .webhooks import catalogue


@people
async def list_(request: web.Request) -> web.Response:
    """Show what the webhooks of a project can subscribe to."""
    check_params(request, "project")
    project = scope(request, request.query.get("project") or None)
    return show(
        request,
        "event_types.html",
        section="/events",
        path="/event-types",
        families=families(catalogue(request, project or "")),
    )


def add(app: web.Application) -> None:
    """Add the route."""
    app.add_routes([web.get("/event-types", list_)])
