"""The audit trail: who did what, to which webhook or delivery, and when."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from ... import clock
from ...model import Refused
from ...rules.audited import AUDITED_ACTIONS
from ...storage.records import AuditEntry
from ..context import context, scope
from ..listed import check_entries
from . import selecting
from .page import check_params, list_row, people, show

PAGE = 50
_NAMES = ("action", "webhook", "since", "until", "project")


@people
async def list_(request: web.Request) -> web.Response:
    """Show the entries, newest first: a project's own, or all to the operator."""
    ctx, now = context(request), clock.now()
    typed = selecting.typed(request.query, _NAMES)
    project = scope(request, typed.values["project"] or None)
    rows: list[AuditEntry] = []
    cursor, problem = None, ""
    try:
        check_params(request, *_NAMES)
        cursor = list_row(request)
        selection = replace(selecting.entries(typed, now), project_id=project)
        rows = await ctx.read(ctx.reading.audit.entries, selection, before=cursor, limit=PAGE + 1)
        if not rows:
            await check_entries(request, selection)
    except Refused as refused:
        problem = refused.message
    shown = rows[:PAGE]
    return show(
        request,
        "audit.html",
        section="/audit",
        status=422 if problem else 200,
        typed=typed,
        problem=problem,
        rows=shown,
        names=await ctx.read(
            ctx.reading.summaries.names, list({row["webhook_id"] for row in shown if row["webhook_id"]})
        ),
        actions=AUDITED_ACTIONS,
        older=typed.url("/audit", before=str(shown[-1]["seq"])) if len(rows) > PAGE else None,
        newest=typed.url("/audit") if cursor is not None else None,
    )


def add(app: web.Application) -> None:
    """Add the route."""
    app.add_routes([web.get("/audit", list_)])
