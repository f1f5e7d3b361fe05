"""`/api/v1/webhooks`: create, list, change, enable, test, rotate, delete."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from aiohttp import web
from pydantic import BeforeValidator, FailFast, Field, WithJsonSchema

from ... import clock
from ...actions import reach, webhook_secrets
from ...actions import webhooks as actions
from ...model import OPTIONS, Refused, StartedRotation, Webhook
from ...rules import presets, versions
from ...rules.headers import MAX_HEADERS, MAX_VALUE
from ...rules.webhook_options import MAX_CONCURRENCY
from ..context import context, principal, scope
from . import answers, parsing
from .filter_field import Filter, filter_of
from .parsing import Body
from .routes import Route

_CONCURRENCY = {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_CONCURRENCY}
_HEADERS = {
    "type": ["object", "null"],
    "additionalProperties": {"type": ["string", "null"], "maxLength": MAX_VALUE},
    "maxProperties": 2 * MAX_HEADERS,
}
_TEMPLATE = {
    "type": ["string", "object", "null"],
    "description": f"The name of a ready one ({', '.join(presets.NAMES)}), or a JSON text with placeholders such as "
    "{{ data.workItem.title }}. An object is taken as the text that it is written as; a placeholder in place of a value needs "
    "a text. Answers have the text, or name and version (slack@1).",
}
Patterns = Annotated[list[str], FailFast()]  # the first wrong one is named: a sentence for each may be megabytes


def _written(template: object) -> object:
    """Return a template that was given as an object as its text; raises `Refused` for one that is nested too deeply."""
    try:
        return json.dumps(template, ensure_ascii=False) if isinstance(template, dict) else template
    except RecursionError:
        raise Refused("This template is nested too deeply.", "template") from None


Template = Annotated[str | None, BeforeValidator(_written), WithJsonSchema(_TEMPLATE)]


class OptionFields(Body):
    """The options that a webhook can be told; null is a webhook that was not told, or is not any more."""

    filter: Filter = None
    concurrency: Annotated[int | None, WithJsonSchema(_CONCURRENCY)] = None
    headers: Annotated[dict[str, Any] | None, WithJsonSchema(_HEADERS)] = None
    rate_limit: str | None = None
    template: Template = None
    ordered: bool | None = None

    def options(self) -> dict[str, object]:
        """Return those that the body has."""
        return {name: getattr(self, name) for name in OPTIONS if name in self.model_fields_set}


class Create(OptionFields):
    """A new webhook; without a secret one is generated."""

    project_id: str | None = None
    url: str
    events: Patterns
    secret: str | None = None
    description: str = ""


class Update(OptionFields):
    """What is to change; what is left out stays."""

    # A factory's value stands in no schema: what is left out is no empty text.
    url: str = Field(default_factory=str)
    events: Patterns = Field(default_factory=list)
    secret: str = Field(default_factory=str)
    description: str = Field(default_factory=str)


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


async def _options_of(request: web.Request, fields: OptionFields) -> dict[str, object]:
    """Return the options that the body has."""
    options = fields.options()
    if fields.filter is not None:
        options["filter"] = await filter_of(request, fields.filter)
    return options


def _answer(webhook: Webhook, status: int = 200, **more: object) -> web.Response:
    """Answer with a webhook and its version, which `If-Match` takes."""
    response = parsing.answer({**asdict(webhook), **more}, status)
    response.etag = versions.version(webhook)
    return response


def _check(request: web.Request) -> Callable[[Webhook], None] | None:
    """Return the check that `If-Match` asks for, if it does; a weak tag never matches (RFC 9110, section 13.1.1)."""
    if "If-Match" not in request.headers:
        return None
    tags = request.if_match or ()  # an empty one matches nothing
    if any(tag.value == "*" for tag in tags):
        return None
    return partial(versions.check, [tag.value for tag in tags if not tag.is_weak])


async def list_(request: web.Request) -> web.Response:
    """Oldest first; the cursor is where the page ends in time."""
    params = parsing.query(request)
    limit = parsing.limit(params)
    project, enabled = scope(request, params.get("project")), parsing.flag(params, "enabled")
    ctx = context(request)
    rows = await ctx.read(ctx.reading.webhooks.find, project_id=project, enabled=enabled)
    after = parsing.cursor(params, r"[0-9T:.-]{23}Z~wh_\w+") or ""
    rest = [row for row in rows if f"{row.created_at}~{row.id}" > after]
    last = rest[limit - 1] if len(rest) > limit else None
    return parsing.page([asdict(row) for row in rest[:limit]], f"{last.created_at}~{last.id}" if last else None)


async def create(request: web.Request) -> web.Response:
    """With its secret, this once."""
    fields = await parsing.body(request, Create, as_spelled="filter")
    ctx = context(request)
    created = await actions.create(
        ctx,
        principal(request),
        now=clock.now(),
        settings=ctx.settings,
        project_id=fields.project_id,
        url=fields.url,
        events=fields.events,
        secret=fields.secret,
        description=fields.description,
        options=await _options_of(request, fields),
    )
    response = _answer(created, 201)
    response.headers["Location"] = f"/api/v1/webhooks/{created.id}"
    return response


async def show(request: web.Request) -> web.Response:
    """Without its secret."""
    return _answer(await reach.webhook(context(request), principal(request), request.match_info["id"]))


async def update(request: web.Request) -> web.Response:
    """The next attempt uses what was changed."""
    fields = await parsing.body(request, Update, as_spelled="filter")
    ctx, sent = context(request), fields.model_fields_set
    changed = await actions.update(
        ctx,
        principal(request),
        request.match_info["id"],
        now=clock.now(),
        settings=ctx.settings,
        url=fields.url if "url" in sent else None,
        events=fields.events if "events" in sent else None,
        secret=fields.secret if "secret" in sent else None,
        description=fields.description if "description" in sent else None,
        options=await _options_of(request, fields),
        check=_check(request),
    )
    return _answer(changed)


async def delete(request: web.Request) -> web.Response:
    """With its delivery history, for good."""
    webhook_id, check = request.match_info["id"], _check(request)
    await actions.delete(context(request), principal(request), webhook_id, now=clock.now(), check=check)
    return web.Response(status=204)


async def enable(request: web.Request) -> web.Response:
    """What is held goes out, or is discarded."""
    fields = await parsing.body(request, Enable)
    enabled = await actions.enable(
        context(request),
        principal(request),
        request.match_info["id"],
        now=clock.now(),
        discard_held=fields.discard_held,
        check=_check(request),
    )
    return _answer(enabled.webhook, held=enabled.held)


async def disable(request: web.Request) -> web.Response:
    """From then on its deliveries are held."""
    await parsing.body(request, Body)
    webhook_id, check = request.match_info["id"], _check(request)
    return _answer(
        await actions.disable(context(request), principal(request), webhook_id, now=clock.now(), check=check)
    )


async def test(request: web.Request) -> web.Response:
    """A sample event to this webhook alone, also while it is disabled."""
    fields = await parsing.body(request, Test)
    ctx = context(request)
    delivery_id = await actions.send_test(
        ctx,
        principal(request),
        request.match_info["id"],
        now=clock.now(),
        settings=ctx.settings,
        event_type=fields.event_type,
    )
    answer: answers.Test = {"delivery_id": delivery_id}
    return parsing.answer(answer, 202)


async def rotate_secret(request: web.Request) -> web.Response:
    """The new secret is in the answer; until the switch the current one goes on signing."""
    fields = await parsing.body(request, Rotate)
    webhook_id = request.match_info["id"]
    started = await webhook_secrets.rotate(
        context(request),
        principal(request),
        webhook_id,
        now=clock.now(),
        secret=fields.secret,
        switch_after=fields.switch_after,
        at_once=fields.now,
        cancel=fields.cancel,
    )
    if started is None:
        cancelled: answers.CancelledRotation = {"webhook_id": webhook_id, "cancelled": True}
        return parsing.answer(cancelled)
    return parsing.answer(started, 202)


async def secret(request: web.Request) -> web.Response:
    """Who looked is written down."""
    ctx, now, webhook_id = context(request), clock.now(), request.match_info["id"]
    secrets = await webhook_secrets.reveal(ctx, principal(request), webhook_id, now=now)
    state = await ctx.read(ctx.reading.secrets.state, webhook_id, now)
    answer: answers.RevealedSecret = {
        "webhook_id": webhook_id,
        "secret": secrets.current,
        "next_secret": secrets.next,
        "rotation": state,
        "headers": dict(secrets.headers) or None,
    }
    return parsing.answer(answer)


_ONE = "/api/v1/webhooks/{id}"
ROUTES = (
    Route("GET", "/api/v1/webhooks", "listWebhooks", list_, "List webhooks, oldest first", {200: "WebhookPage"},
          parameters=("project", "enabled", "limit", "cursor")),
    Route("POST", "/api/v1/webhooks", "createWebhook", create, "Create a webhook", {201: "WebhookWithSecret"}, body=Create),
    Route("GET", _ONE, "getWebhook", show, "Show a webhook", {200: "Webhook"}),
    Route("PATCH", _ONE, "updateWebhook", update, "Change a webhook", {200: "Webhook"}, body=Update, if_match=True),
    Route("DELETE", _ONE, "deleteWebhook", delete, "Delete a webhook with its delivery history", {204: None}, if_match=True),
    Route("POST", f"{_ONE}/enable", "enableWebhook", enable, "Enable a webhook", {200: "EnabledWebhook"}, body=Enable, if_match=True),
    Route("POST", f"{_ONE}/disable", "disableWebhook", disable, "Disable a webhook; its deliveries are held", {200: "Webhook"}, body=Body,
          if_match=True),
    Route("POST", f"{_ONE}/test", "testWebhook", test, "Send a sample event", {202: answers.Test}, body=Test),
    Route("POST", f"{_ONE}/rotate-secret", "rotateSecret", rotate_secret, "Begin, bring forward or cancel a change of secret",
          {200: answers.CancelledRotation, 202: StartedRotation}, body=Rotate),
    Route("GET", f"{_ONE}/secret", "revealSecret", secret, "Reveal the secret and the values of headers, which is written down", {200: answers.RevealedSecret}, writes=True),
)  # fmt: skip
