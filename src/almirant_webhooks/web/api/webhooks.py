"""`/api/v1/webhooks`: create, list, change, enable, test, rotate, delete."""

from __future__ import annotations

import json
from dataclasses import asdict

from aiohttp import web

from ... import clock
from ...model import Refused, Webhook
from ...rules import validation
from ...rules.event_types import choose_sample, sample_payload
from ...storage.sqlite import held, rotation
from ...storage.sqlite import webhooks as db
from ..context import check_reach, context, principal, scope
from . import parsing
from .parsing import Body, checked
from .routes import Route


class Create(Body):
    """A new webhook; without a secret one is generated."""

    project_id: str | None = None
    url: str
    events: list[str]
    secret: str | None = None
    description: str = ""


class Update(Body):
    """What is to change; what is left out stays."""

    url: str | None = None
    events: list[str] | None = None
    secret: str | None = None
    description: str | None = None


class Enable(Body):
    """What becomes of deliveries that are held."""

    discard_held: bool = False


class Test(Body):
    """The type of the sample event; the first that the webhook subscribes to if it is left out."""

    event_type: str | None = None


class Rotate(Body):
    """When a new secret begins to sign, an own one if it is given; or `cancel`, before it does."""

    secret: str | None = None
    switch_after: str | None = None
    now: bool = False
    cancel: bool = False


async def reached(request: web.Request) -> Webhook:
    """Return the webhook of the path, if it is the caller's to see."""
    webhook_id = request.match_info["id"]
    found = await context(request).read(db.get, webhook_id)
    check_reach(request, found.project_id, f"webhook {webhook_id}")
    return found


async def list_(request: web.Request) -> web.Response:
    """Oldest first; the cursor is where the page ends in time."""
    given = parsing.query(request)
    most = parsing.limit(given)
    project, enabled = scope(request, given.get("project")), parsing.flag(given, "enabled")
    found = await context(request).read(db.find, project_id=project, enabled=enabled)
    after = parsing.cursor(given, r"[0-9T:.-]{23}Z~wh_\w+") or ""
    rest = [one for one in found if f"{one.created_at}~{one.id}" > after]
    last = rest[most - 1] if len(rest) > most else None
    return parsing.page([asdict(one) for one in rest[:most]], f"{last.created_at}~{last.id}" if last else None)


async def create(request: web.Request) -> web.Response:
    """The rules are those of the command and the pages."""
    given = await parsing.body(request, Create)
    here = context(request)
    project = scope(request, given.project_id)
    if project is None:
        raise Refused("Name the project that the webhook belongs to.", "project_id")
    made = await here.write(
        db.create,
        project_id=validation.project_id(project),
        url=validation.url(given.url, here.settings.policy()),
        events=validation.events(given.events, here.settings.events.extra_types, project),
        secret=validation.secret(given.secret),
        description=validation.description(given.description),
        limit=here.settings.limits.webhooks_per_project,
        now=clock.now(),
        actor=principal(request).actor,
    )
    response = parsing.answer(asdict(made), 201)
    response.headers["Location"] = f"/api/v1/webhooks/{made.id}"
    return response


async def show(request: web.Request) -> web.Response:
    """Without its secret."""
    return parsing.answer(asdict(await reached(request)))


async def update(request: web.Request) -> web.Response:
    """The next attempt uses what was changed."""
    given = await parsing.body(request, Update)
    one = await reached(request)
    if not given.model_dump(exclude_none=True):
        raise Refused("Nothing to change: give url, events, secret or description.", "body")
    here = context(request)
    changed = await here.write(
        db.update,
        one.id,
        url=checked(validation.url, given.url, here.settings.policy()),
        events=checked(validation.events, given.events, here.settings.events.extra_types, one.project_id),
        secret=checked(validation.secret, given.secret),
        description=checked(validation.description, given.description),
        now=clock.now(),
        actor=principal(request).actor,
    )
    return parsing.answer(asdict(changed))


async def delete(request: web.Request) -> web.Response:
    """With its delivery history, for good."""
    one = await reached(request)
    await context(request).write(db.delete, one.id, clock.now(), actor=principal(request).actor)
    return web.Response(status=204)


async def enable(request: web.Request) -> web.Response:
    """What is held goes out, or is discarded."""
    given = await parsing.body(request, Enable)
    one = await reached(request)
    here = context(request)
    count = await here.read(held.count, one.id)
    actor, discard = principal(request).actor, given.discard_held
    await here.write(db.enable, one.id, discard_held=discard, now=clock.now(), actor=actor, count=count)
    return parsing.answer({**asdict(await here.read(db.get, one.id)), "held": count})


async def disable(request: web.Request) -> web.Response:
    """From then on its deliveries are held."""
    await parsing.body(request, Body)
    one = await reached(request)
    here = context(request)
    await here.write(db.disable, one.id, clock.now(), actor=principal(request).actor)
    return parsing.answer(asdict(await here.read(db.get, one.id)))


async def test(request: web.Request) -> web.Response:
    """A sample event to this webhook alone, also while it is disabled."""
    given = await parsing.body(request, Test)
    one = await reached(request)
    here = context(request)
    kind = choose_sample(one.events, here.settings.events.extra_types, given.event_type, one.project_id)
    payload = json.dumps(sample_payload(kind), ensure_ascii=False)
    made = await here.write(db.request_test, one.id, kind, payload, clock.now(), actor=principal(request).actor)
    return parsing.answer({"delivery_id": made}, 202)


async def rotate_secret(request: web.Request) -> web.Response:
    """The new secret is in the answer; until the switch the current one goes on signing."""
    given = await parsing.body(request, Rotate)
    one = await reached(request)
    here = context(request)
    now, actor = clock.now(), principal(request).actor
    if given.cancel:
        if given.now or given.secret is not None or given.switch_after is not None:
            raise Refused("cancel takes the new secret back and goes with nothing else.", "cancel")
        await here.write(rotation.cancel, one.id, actor=actor, now=now)
        return parsing.answer({"webhook_id": one.id, "cancelled": True})
    if given.now and given.switch_after is not None:
        raise Refused("Give switch_after or now, not both.", "switch_after")
    wait = validation.switch_after("0s" if given.now else given.switch_after or "24h")
    started = await here.write(
        rotation.start, one.id, secret=validation.secret(given.secret), switch_at=now + wait, actor=actor, now=now
    )
    return parsing.answer(started, 202)


async def secret(request: web.Request) -> web.Response:
    """Who looked is written down."""
    one = await reached(request)
    here = context(request)
    now = clock.now()
    found = await here.write(rotation.reveal, one.id, actor=principal(request).actor, now=now)
    state = await here.read(rotation.state, one.id, now)
    return parsing.answer({"webhook_id": one.id, "secret": found.current, "next_secret": found.next, "rotation": state})


_ONE = "/api/v1/webhooks/{id}"
ROUTES = (
    Route("GET", "/api/v1/webhooks", list_, "List webhooks, oldest first", {200: "WebhookPage"},
          parameters=("project", "enabled", "limit", "cursor")),
    Route("POST", "/api/v1/webhooks", create, "Create a webhook", {201: "WebhookWithSecret"}, body=Create),
    Route("GET", _ONE, show, "Show a webhook", {200: "Webhook"}),
    Route("PATCH", _ONE, update, "Change a webhook", {200: "Webhook"}, body=Update),
    Route("DELETE", _ONE, delete, "Delete a webhook with its delivery history", {204: None}),
    Route("POST", f"{_ONE}/enable", enable, "Enable a webhook", {200: "Webhook"}, body=Enable),
    Route("POST", f"{_ONE}/disable", disable, "Disable a webhook; its deliveries are held", {200: "Webhook"}, body=Body),
    Route("POST", f"{_ONE}/test", test, "Send a sample event", {202: "Asked"}, body=Test),
    Route("POST", f"{_ONE}/rotate-secret", rotate_secret, "Begin, bring forward or cancel a change of secret",
          {200: "Object", 202: "Object"}, body=Rotate),
    Route("GET", f"{_ONE}/secret", secret, "Reveal the secret, which is written down", {200: "Object"}, writes=True),
)  # fmt: skip
