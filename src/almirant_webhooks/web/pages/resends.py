"""Many resends at once: counted, asked for at a button that says how many, followed, and cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ... import clock
from ...actions import reach
from ...actions import resends as actions
from ...model import Refused
from ...storage.sqlite import resends, summaries
from ..context import context, principal, scope
from . import filters
from .page import before, people, see, sent_form, show
from .webhooks import catalogue

PAGE = 50
_SHOWN = 20  # webhooks in the count
_NAMES = ("state", "status", "event_type", "since", "until", "cause", "event_id", "project", "webhook")
_FOLDED = ("until", "cause", "event_id", "project", "webhook")


@people
async def list_(request: web.Request) -> web.Response:
    """Show the resends of a project, or of all to the operator, newest first."""
    cursor = before(request, r"rsd_\w{1,64}")
    project = scope(request, request.query.get("project", "").strip() or None)
    rows = await context(request).read(resends.find, project_id=project, before=cursor, limit=PAGE + 1)
    kept = filters.typed(request.query, ("project",))
    return show(
        request,
        "resends.html",
        section="/deliveries",
        rows=rows[:PAGE],
        older=kept.url("/resends", before=rows[PAGE - 1]["id"]) if len(rows) > PAGE else None,
        newest=kept.url("/resends") if cursor else None,
    )


@people
async def ask(request: web.Request) -> web.Response:
    """Show how many deliveries the filters match, and the button that sends them again."""
    return await _ask(request, request.query)


async def _ask(request: web.Request, given: Mapping[str, Any], problem: str = "") -> web.Response:
    here = context(request)
    typed = filters.typed(given, _NAMES, _FOLDED)
    project = scope(request, typed.values["project"] or None)
    counts: dict[str, int] = {}
    fixed: dict[str, str] = {}
    narrowed = bool(project) or any(value for name, value in typed.values.items() if name != "until")
    try:
        asked = _wanted(typed, project)
        # Times are fixed here, so that what is sent is what the button counted.
        fixed = {name: clock.text(asked[name]) for name in ("since", "until") if name in asked}
        fixed.setdefault("until", clock.text(clock.now()))
        counts = await actions.count_many(here, principal(request), asked) if narrowed else {}
    except Refused as refused:
        problem = problem or refused.message
    most = sorted(counts, key=lambda one: -counts[one])
    return show(
        request,
        "resend_many.html",
        section="/deliveries",
        status=422 if problem else 200,
        filters=typed,
        fixed={**typed.values, **fixed},
        problem=problem,
        narrowed=narrowed,
        total=sum(counts.values()),
        counts={one: counts[one] for one in most[:_SHOWN]},
        webhooks=len(most),
        names=await here.read(summaries.names, most[:_SHOWN]),
        catalogue=catalogue(request),
    )


def _wanted(typed: filters.Typed, project: str | None) -> dict[str, Any]:
    """Return the filters as `resends` takes them."""
    more = {"webhook_id": typed.values["webhook"], "project_id": project}
    return filters.chosen(typed, clock.now()) | {name: value for name, value in more.items() if value}


@people
async def start(request: web.Request) -> web.Response:
    """Begin to send again what matches."""
    form = await sent_form(request)
    given = {name: str(form.get(name, "")) for name in _NAMES}
    project = scope(request, given["project"] or None)
    try:
        asked = _wanted(filters.typed(given, _NAMES), project)
        started = await actions.resend_many(context(request), principal(request), asked, now=clock.now())
    except Refused as refused:
        return await _ask(request, given, refused.message)
    raise see(f"/resends/{started.id}", done="resend-started")


@people
async def detail(request: web.Request) -> web.Response:
    """Show how far one is."""
    found = await reach.bulk_resend(context(request), principal(request), request.match_info["id"])
    webhook = found["filters"].get("webhook_id")
    names = await context(request).read(summaries.names, [webhook] if webhook else [])
    return show(request, "resend.html", section="/deliveries", resend=found, names=names)


@people
async def cancel(request: web.Request) -> web.Response:
    """Send nothing more of it."""
    resend_id = request.match_info["id"]
    await actions.cancel_many(context(request), principal(request), resend_id, now=clock.now())
    raise see(f"/resends/{resend_id}", done="resend-cancelled")


def add(app: web.Application) -> None:
    """Add the routes."""
    one = "/resends/{id:rsd_[^/]+}"
    app.add_routes(
        [
            web.get("/resends", list_),
            web.post("/resends", start),
            web.get("/resends/new", ask),
            web.get(one, detail),
            web.post(f"{one}/cancel", cancel),
        ]
    )
