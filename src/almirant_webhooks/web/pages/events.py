"""Events and why: what became of each, webhook by webhook; and rows of the outbox that were rejected."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from ... import clock
from ...model import NotFound, Refused
from ...rules.replays import kept_until
from ...rules.texts import Text
from ...rules.values import cursor
from ...storage.records import Event
from ..context import context, scope
from ..listed import check_there
from . import selecting
from .delivery import MOST_BODY, json_file
from .form_fields import families
from .page import check_params, list_row, people, show
from .webhooks import catalogue

PAGE = 50
_OUTCOMES = 200  # webhooks on a page of one event
_WHY = {
    "succeeded": Text("It was delivered."),
    "pending": Text("It is tried until it succeeds or its attempts are used up."),
    "failed": Text("Every attempt failed; it can be resent."),
    "cancelled": Text("It was discarded, or held for too long."),
    "held": Text("The webhook is disabled; enabling it sends this."),
    "filtered out": "",  # its verdict says which condition
    "not subscribed to this type": Text("None of its subscriptions matched when the event came."),
    "webhook created later": Text("An event goes to the webhooks that are there when it comes."),
    "a test of another webhook": Text("A test goes to one webhook alone."),
    "unmatched": Text("Nothing was there to send it to."),
}


@people
async def list_(request: web.Request) -> web.Response:
    """Show the events, newest first."""
    typed = selecting.typed(request.query, tuple(selecting.EVENTS.values()))
    project = scope(request, typed.project or None)
    ctx = context(request)
    types = catalogue(request)
    rows: list[Event] = []
    at, following, problem = None, None, ""
    try:
        check_params(request, *typed.values)
        selection = replace(selecting.events(typed, clock.now()), project_id=project)
        at = list_row(request)
        page = await ctx.read(ctx.reading.log.events, selection, limit=PAGE, cursor=at)
        rows, following = page.items, page.next_cursor
        if not rows and following is None and at is None:
            await check_there(request, selection, event_type="event_type")
    except Refused as refused:
        problem = refused.message
    return show(
        request,
        "events.html",
        section="/events",
        status=422 if problem else 200,
        path="/events",
        typed=typed,
        problem=problem,
        rows=rows,
        rejected=None,
        catalogue=types,
        families=families(types),
        older=typed.url("/events", before=following) if following else None,
        newest=typed.url("/events") if at is not None else None,
    )


@people
async def rejected(request: web.Request) -> web.Response:
    """Show rejected rows of the outbox with their reasons, a project's own or all."""
    check_params(request, "project")
    typed = selecting.typed(request.query, ("project",))
    project = scope(request, typed.project or None)
    at = list_row(request)
    ctx = context(request)
    rows, following = await ctx.read_outbox(ctx.reading.rejected.newest, PAGE, project, before=at)
    return show(
        request,
        "events.html",
        section="/events",
        path="/rejected",
        typed=typed,
        problem="",
        rows=[],
        rejected=rows,
        catalogue=(),
        families=(),
        older=typed.url("/rejected", before=str(following)) if following is not None else None,
        newest=typed.url("/rejected") if at is not None else None,
    )


@people
async def detail(request: web.Request) -> web.Response:
    """Show one event, and why it went where it went."""
    project = scope(request, request.query.get("project") or None)
    text = request.query.get("after", "")
    after = cursor(text, "after", r"wh_\w{1,64}") if text else ""
    ctx = context(request)
    event = await ctx.read(ctx.reading.log.event, request.match_info["id"], project, after=after, limit=_OUTCOMES)
    kept = ctx.settings.retention
    return show(
        request,
        "event.html",
        section="/events",
        event=event,
        names=await ctx.read(
            ctx.reading.summaries.names, [row["webhook_id"] for row in event["outcomes"] if row["webhook_id"]]
        ),
        why=lambda outcome: _WHY.get(outcome, ""),
        kept_until=kept_until(event["created_at"], kept.succeeded, kept.bodies),
        most_body=MOST_BODY,
    )


@people
async def body(request: web.Request) -> web.Response:
    """Answer with the bytes of an event's body as a file."""
    project = scope(request, request.query.get("project") or None)
    ctx = context(request)
    event = await ctx.read(ctx.reading.log.event, request.match_info["id"], project, limit=1)
    if event["erased_at"] is not None:
        raise NotFound(Text("Event {event_id} has no body.", event_id=event["event_id"]), "id")
    return json_file(event["event_id"], event["body"])


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes(
        [
            web.get("/events", list_),
            web.get("/rejected", rejected),
            web.get("/events/{id}", detail),
            web.get("/events/{id}/body", body),
        ]
    )
