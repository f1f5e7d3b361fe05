"""The list of webhooks, in the order of trouble."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

from aiohttp import web

from ... import clock
from ...model import Health, Refused
from ...rules import activity
from ...rules.texts import Text
from ...rules.trouble import MOST_WAITING
from ...rules.values import line, whole, word
from ..context import context, principal, scope
from . import plots, selecting
from .page import check_params, people, show

PAGE = 100
MOST_PAGES = 10**9
_NAMES = ("project", "text", "state", "page")
# How the line of counts, the filter and the rows name how a webhook stands.
WORDS = {
    Health.DISABLED: Text("disabled by the service"),
    Health.FAILING: Text("failing"),
    Health.FAILED: Text("failed last"),
    Health.OFF: Text("off"),
    Health.WELL: Text("well"),
}


@people
async def list_(request: web.Request) -> web.Response:
    """Show the webhooks of a project, or of all to the operator: what is in trouble first."""
    ctx, now = context(request), clock.now()
    typed = selecting.typed(request.query, _NAMES)
    project = scope(request, typed.project or None)
    operator = principal(request).project_id is None
    at, health, problem = 1, None, ""
    with suppress(Refused):
        at = whole(typed.page, "page", 1, MOST_PAGES)
    try:
        check_params(request, *_NAMES)
        if typed.text:
            line(typed.text, "text")
        health = Health(word(typed.state, "state", tuple(Health))) if typed.state else None
    except Refused as refused:
        problem = refused.message
    found = await ctx.read(
        ctx.reading.summaries.page,
        project,
        activity.SPANS["24h"].begin(now),
        limit=PAGE,
        offset=(at - 1) * PAGE,
        text="" if problem else typed.text,
        health=health,
    )
    ids = [row["webhook"].id for row in found.rows if row["webhook"].rate_limit is not None]
    waiting = await ctx.read(ctx.reading.rates.waiting, ids, now, MOST_WAITING) if ids else {}
    return show(
        request,
        "webhooks.html",
        section="/webhooks",
        status=422 if problem else 200,
        problem=problem,
        typed=typed,
        here=typed.url("/webhooks"),
        project=project if operator else None,
        projects=await ctx.read(ctx.reading.summaries.projects, 500) if operator else [],
        rows=[
            SimpleNamespace(
                **row,
                plot=plots.strip(row["hours"], now, activity.SPANS["24h"]),
                rate_limited=waiting.get(row["webhook"].id, 0),
            )
            for row in found.rows
        ],
        counts=[(health, WORDS[health], number) for health, number in found.counts.items() if number],
        states=[(health, WORDS[health]) for health in Health],
        most_waiting=MOST_WAITING,
        page=at,
        next_page=typed.url("/webhooks", page=str(at + 1)) if found.more else None,
    )


def add(app: web.Application) -> None:
    """Add the route."""
    app.add_routes([web.get("/webhooks", list_)])
