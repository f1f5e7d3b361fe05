"""`/api/v1/events`, `/audit`, `/event-types` and `/portal-links`: what producers send, and the way to the pages."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ... import clock
from ...actions import events as actions
from ...actions import tokens
from ...rules import event_schemas
from ...rules.event_types import catalogue_of, sample_payload
from ...rules.principals import Role
from ...rules.replays import kept_until
from ..bodies import read_json
from ..context import context, principal, scope
from . import answers, parsing
from .parsing import EVENT_SELECTION, Body
from .routes import Route


class Send(Body):
    """One event, as an INSERT would have it."""

    project_id: str | None = None
    event_type: str
    payload: dict[str, Any]
    event_id: str | None = None
    occurred_at: str | None = None


class Link(Body):
    """A link to the pages of one project, and how long it opens them (`1h`)."""

    project_id: str
    expires: str = "1h"


async def send(request: web.Request) -> web.Response:
    """202 once it is committed; the same id with the same content is taken once, with other content it is a conflict."""
    fields = await parsing.body(request, Send, as_spelled="payload")
    ctx = context(request)
    sent = await actions.send(
        ctx,
        principal(request),
        settings=ctx.settings,
        project_id=fields.project_id,
        event_type=fields.event_type,
        payload=parsing.as_written((await read_json(request)).decode(), "payload"),
        event_id=fields.event_id,
        occurred_at=fields.occurred_at,
    )
    answer: answers.SentEvent = {"event_id": sent.event_id}
    return parsing.answer(answer, 202)


async def list_(request: web.Request) -> web.Response:
    """Newest first, each with the number of its deliveries."""
    params = parsing.query(request)
    ctx = context(request)
    page = await ctx.read(
        ctx.reading.log.events,
        parsing.event_selection(request, params),
        limit=parsing.limit(params),
        cursor=parsing.row_cursor(params),
    )
    answer: answers.EventPage = {
        "items": [answers.event(row) for row in page.items],
        "next_cursor": page.next_cursor,
        "looked_back_to": page.looked_back_to,
    }
    return parsing.answer(answer)


async def show(request: web.Request) -> web.Response:
    """With its body, and what became of it webhook by webhook: of a thousand at a time, as the cursor tells."""
    params = parsing.query(request)
    ctx = context(request)
    event = await ctx.read(
        ctx.reading.log.event,
        request.match_info["id"],
        parsing.project(request, params),
        after=parsing.cursor(params, r"wh_\w{1,64}") or "",
        limit=_OUTCOMES,
    )
    until = kept_until(event["created_at"], ctx.settings.retention.succeeded)
    return parsing.answer(answers.event_details(event, until))


async def types(request: web.Request) -> web.Response:
    """The catalogue, with the operator's additions and the notices: when each is sent, a sample, and a JSON Schema."""
    catalogue = catalogue_of("", context(request).settings.events.extra_types)
    items = [
        answers.EventType(
            event_type=event_type,
            description=event_schemas.meaning(event_type),
            sample=sample_payload(event_type),
            schema={"$schema": event_schemas.DIALECT, **event_schemas.body_schema(event_type)},
        )
        for event_type in catalogue
    ]
    answer: answers.EventTypePage = {"items": items, "next_cursor": None}
    return parsing.answer(answer)


async def trail(request: web.Request) -> web.Response:
    """Who did what, newest first; the cursor is an entry's `seq`."""
    params = parsing.query(request)
    limit = parsing.limit(params)
    ctx = context(request)
    rows = await ctx.read(
        ctx.reading.audit.entries,
        project_id=scope(request, params.get("project")),
        webhook_id=params.get("webhook"),
        action=params.get("action"),
        since=parsing.time(params, "since"),
        until=parsing.time(params, "until"),
        before=parsing.row_cursor(params),
        limit=limit + 1,
    )
    next_cursor = str(rows[limit - 1]["seq"]) if len(rows) > limit else None
    answer: answers.AuditPage = {"items": rows[:limit], "next_cursor": next_cursor}
    return parsing.answer(answer)


async def portal_link(request: web.Request) -> web.Response:
    """So that an application's own page can link to a project's webhooks."""
    fields = await parsing.body(request, Link)
    ctx = context(request)
    link = await tokens.make_link(
        ctx,
        principal(request),
        now=clock.now(),
        settings=ctx.settings,
        signing_keys=ctx.keys,
        project_id=fields.project_id,
        expires=fields.expires,
    )
    answer: answers.PortalLink = {"project_id": link.project_id, "url": link.url, "expires_at": link.expires_at}
    return parsing.answer(answer, 201)


async def whoami(request: web.Request) -> web.Response:
    """Who the caller is here."""
    caller = principal(request)
    answer: answers.Caller = {"role": caller.role, "project_id": caller.project_id}
    return parsing.answer(answer)


_OUTCOMES = 1000  # webhooks of which an answer tells what became of an event there
_TRAIL = ("project", "webhook", "action", "since", "until", "limit", "cursor")
_EVERYBODY = (Role.OPERATOR, Role.PROJECT_ADMIN, Role.PRODUCER)
ROUTES = (
    Route("POST", "/api/v1/events", "sendEvent", send, "Send an event, as an INSERT into the outbox does", {202: answers.SentEvent},
          roles=(Role.OPERATOR, Role.PRODUCER), body=Send),
    Route("GET", "/api/v1/events", "listEvents", list_, "List events, newest first", {200: answers.EventPage},
          parameters=(*EVENT_SELECTION, "limit", "cursor")),
    Route("GET", "/api/v1/events/{id}", "getEvent", show, "Show an event and what became of it", {200: answers.EventDetails},
          parameters=("project", "cursor")),
    Route("GET", "/api/v1/audit", "listAudit", trail, "List who did what, newest first", {200: answers.AuditPage},
          parameters=_TRAIL),
    Route("GET", "/api/v1/event-types", "listEventTypes", types, "List the event types", {200: answers.EventTypePage}, roles=_EVERYBODY),
    Route("POST", "/api/v1/portal-links", "createPortalLink", portal_link, "Make a link to the pages of one project", {201: answers.PortalLink},
          roles=(Role.OPERATOR,), body=Link),
    Route("GET", "/api/v1/whoami", "whoAmI", whoami, "Tell who the caller is", {200: answers.Caller}, roles=_EVERYBODY),
)  # fmt: skip
