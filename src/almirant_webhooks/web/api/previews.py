"""`/api/v1/webhooks/preview`: what a webhook would get, before its settings are saved."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from ...actions import previews as actions
from ..context import context, principal
from . import answers, parsing
from .filter_field import Filter, filter_of
from .parsing import Body
from .routes import Route
from .webhooks import Patterns, Template


class Preview(Body):
    """A webhook, or a project and its events; and what is to be tried in place of what the webhook has."""

    webhook_id: str | None = None
    project_id: str | None = None
    events: Patterns = Field(default_factory=list)  # a factory's value stands in no schema
    filter: Filter = None
    template: Template = None


async def preview(request: web.Request) -> web.Response:
    """What the newest events of the project would come to, by options that are not saved yet."""
    fields = await parsing.body(request, Preview, as_spelled="filter")
    ctx = context(request)
    options: dict[str, object] = {"template": fields.template} if "template" in fields.model_fields_set else {}
    if "filter" in fields.model_fields_set:
        options["filter"] = await filter_of(request, fields.filter)
    result = await actions.preview(
        ctx,
        principal(request),
        settings=ctx.settings,
        webhook_id=fields.webhook_id,
        project_id=fields.project_id,
        events=fields.events if "events" in fields.model_fields_set else None,
        options=options,
    )
    return parsing.answer(result)


ROUTES = (
    Route("POST", "/api/v1/webhooks/preview", "previewWebhook", preview,
          "Show what a webhook would get of the newest events of its project", {200: answers.Preview}, body=Preview),
)  # fmt: skip
