"""`/api/v1/events`, `/audit`, `/event-types` and `/whoami`: what producers send, and who did what."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ...actions import events as actions
from ...rules import event_schemas
from ...rules.event_types import catalogue_of, sample_payload
from ...rules.principals import Role
from ...rules.replays import kept_until
from ..bodies import read_json
from ..context import context, principal
from ..listed import check_entries, check_there
from ..request_keys import digest_of
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


async def send(request: web.Request) -> web.Response:
    """202 once it is committed; the same id with the same content is taken once, with other content it is a conflict."""
    fields = await parsing.body(request, Send, as_spelled="payload")
    ctx = context(request)
    raw = await read_json(request)
    key = request.headers.get("Idempotency-Key")
    # An id that comes of the key: the outbox may be in another file, and takes an id once by itself.
    own_id = f"evt_{digest_of(principal(request).id, key, raw)[:32]}" if key is not None else None
    sent = await actions.send(
        ctx,
        principal(request),
        settings=ctx.settings,
        project_id=fields.project_id,
        event_type=fields.event_type,
        payload=parsing.as_written(raw.decode(), "payload"),
        event_id=own_id if fields.event_id is None else fields.event_id,
        occurred_at=fields.occurred_at,
    )
    answer: answers.SentEvent = {"event_id": sent.event_id}
    return parsing.answer(answer, 202)


async def list_(request: web.Request) -> web.Response:
    """Newest first, each with the number of its deliveries."""
    params = parsing.query(request)
    ctx = context(request)
    selection, cursor = parsing.event_selection(request, params), parsing.row_cursor(params)
    page = await ctx.read(ctx.reading.log.events, selection, limit=parsing.limit(params), cursor=cursor)
    if not page.items and page.next_cursor is None and cursor is None:
        await check_there(request, selection, event_type="type")
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
    kept = ctx.settings.retention
    until = kept_until(event["created_at"], kept.succeeded, kept.bodies)
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
    selection = parsing.audit_selection(request, params)
    ctx = context(request)
    rows = await ctx.read(ctx.reading.audit.entries, selection, before=parsing.row_cursor(params), limit=limit + 1)
    if not rows:
        await check_entries(request, selection)
    next_cursor = str(rows[limit - 1]["seq"]) if len(rows) > limit else None
    answer: answers.AuditPage = {"items": rows[:limit], "next_cursor": next_cursor}
    return parsing.answer(answer)


async def whoami(request: web.Request) -> web.Response:
    """Who the caller is here."""
    caller = principal(request)
    answer: answers.Caller = {"role": caller.role, "project_id": caller.project_id}
    return parsing.answer(answer)


_OUTCOMES = 1000  # webhooks of which an answer tells what became of an event there
_TRAIL = (*parsing.AUDIT_SELECTION, "limit", "cursor")
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
    Route("GET", "/api/v1/whoami", "whoAmI", whoami, "Tell who the caller is", {200: answers.Caller}, roles=_EVERYBODY),
)  # fmt: skip
