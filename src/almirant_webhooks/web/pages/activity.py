"""How the attempts of a project went, all its webhooks together."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...rules import activity
from ..context import context, principal, scope
from . import plots
from .page import check_params, people, show


@people
async def of_project(request: web.Request) -> web.Response:
    """Show a project's activity; the operator names which."""
    ctx, now = context(request), clock.now()
    check_params(request, "project", "span")
    project = scope(request, request.query.get("project") or None)
    span = activity.span_of(request.query.get("span") or activity.DEFAULT, "span")
    webhooks = await ctx.read(ctx.reading.webhooks.find, project_id=project) if project is not None else []
    ids = [webhook.id for webhook in webhooks]
    is_operator = principal(request).project_id is None
    counted = await ctx.read(ctx.reading.activity.counted, ids, activity.SPANS[span], now)
    return show(
        request,
        "activity.html",
        section="/webhooks",
        name=project,
        project=(project or "") if is_operator else "",
        projects=await ctx.read(ctx.reading.summaries.projects, 500) if is_operator else [],
        activity=activity.activity(counted, span, now),
        spans=tuple(activity.SPANS),
        plot=plots.attempts(plots.span(counted["parts"], now, activity.SPANS[span])),
    )


def add(app: web.Application) -> None:
    """Add the route."""
    app.add_routes([web.get("/activity", of_project)])
