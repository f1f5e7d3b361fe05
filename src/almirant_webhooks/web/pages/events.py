"""Events and why: what became of each, webhook by webhook; and rows of the outbox that were rejected."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ... import clock
from ...model import Refused
from ...storage.sqlite import log, rejected_rows, search
from ..context import context, scope
from . import filters
from .page import before_row, people, show
from .webhooks import catalogue

PAGE = 50
_OUTCOMES = 200  # webhooks on a page of one event
_WHY = {
    "succeeded": "It was delivered.",
    "pending": "It is tried until it succeeds or its attempts are used up.",
    "failed": "Every attempt failed; it can be resent.",
    "cancelled": "It was discarded, or held for too long.",
    "held": "The webhook is disabled; enabling it sends this.",
    "not subscribed to this type": "None of its subscriptions matched when the event came.",
    "webhook created later": "An event goes to the webhooks that are there when it comes.",
    "a test of another webhook": "A test goes to one webhook alone.",
    "unmatched": "Nothing was there to send it to.",
}


@people
async def list_(request: web.Request) -> web.Response:
    """Show the events, newest first."""
    now = clock.now()
    typed = filters.typed(request.query, ("project", "event_type", "since", "until"))
    cursor = before_row(request)
    project = scope(request, typed.values["project"] or None)
    rows: list[dict[str, Any]] = []
    following, problem = None, ""
    try:
        rows, following = await _read(
            request,
            {
                "project_id": project,
                "event_type": typed.values["event_type"] or None,
                "since": filters.moment(typed.values["since"], now),
                "until": filters.moment(typed.values["until"], now),
            },
            cursor,
        )
    except Refused as refused:
        problem = refused.message
    return show(
        request,
        "events.html",
        section="/events",
        status=422 if problem else 200,
        path="/events",
        filters=typed,
        problem=problem,
        rows=rows,
        rejected=None,
        catalogue=catalogue(request),
        older=typed.url("/events", before=following) if following else None,
        newest=typed.url("/events") if cursor is not None else None,
    )


async def _read(
    request: web.Request, wanted: dict[str, Any], cursor: int | None
) -> tuple[list[dict[str, Any]], str | None]:
    page = await context(request).read(
        search.events, **wanted, limit=PAGE, cursor=None if cursor is None else str(cursor)
    )
    return page.items, page.next_cursor


@people
async def rejected(request: web.Request) -> web.Response:
    """Show rejected rows of the outbox with their reasons, a project's own or all."""
    typed = filters.typed(request.query, ("project",))
    project = scope(request, typed.values["project"] or None)
    at = before_row(request)
    rows, following = await context(request).read_outbox(rejected_rows.newest, PAGE, project, before=at)
    return show(
        request,
        "events.html",
        section="/events",
        path="/rejected",
        filters=typed,
        problem="",
        rows=[],
        rejected=rows,
        catalogue=(),
        older=typed.url("/rejected", before=str(following)) if following is not None else None,
        newest=typed.url("/rejected") if at is not None else None,
    )


@people
async def detail(request: web.Request) -> web.Response:
    """Show one event, and why it went where it went."""
    project = scope(request, request.query.get("project") or None)
    after = request.query.get("after", "")
    event = await context(request).read(log.event, request.match_info["id"], project, after=after, limit=_OUTCOMES)
    return show(request, "event.html", section="/events", event=event, why=lambda outcome: _WHY.get(outcome, ""))


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes([web.get("/events", list_), web.get("/rejected", rejected), web.get("/events/{id}", detail)])
