"""`/api/v1/activity` and `/api/v1/webhooks/{id}/activity`: how attempts went in a span of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from ... import clock
from ...actions import reach
from ...model import Refused
from ...rules import activity
from ..context import context, principal
from . import parsing
from .routes import Route


async def of_webhook(request: web.Request) -> web.Response:
    """By the hour, or by five minutes, with the share that failed."""
    params = parsing.query(request)
    webhook = await reach.webhook(context(request), principal(request), request.match_info["id"])
    return await _answer(request, params, [webhook.id])


async def of_project(request: web.Request) -> web.Response:
    """Of all webhooks of a project together."""
    params = parsing.query(request)
    project = parsing.project(request, params)
    if project is None:
        raise Refused("Say of which project.", "project")
    ctx = context(request)
    webhooks = await ctx.read(ctx.reading.webhooks.find, project_id=project)
    return await _answer(request, params, [webhook.id for webhook in webhooks])


async def _answer(request: web.Request, params: Mapping[str, str], webhook_ids: Sequence[str]) -> web.Response:
    ctx, now = context(request), clock.now()
    span = activity.span_of(params.get("span", activity.DEFAULT), "span")
    counted = await ctx.read(ctx.reading.activity.counted, webhook_ids, activity.SPANS[span], now)
    return parsing.answer(activity.activity(counted, span, now))


ROUTES = (
    Route("GET", "/api/v1/activity", "getActivity", of_project, "Tell how the attempts of a project went",
          {200: activity.Activity}, parameters=("project", "span")),
    Route("GET", "/api/v1/webhooks/{id}/activity", "getWebhookActivity", of_webhook, "Tell how the attempts of a webhook went",
          {200: activity.Activity}, parameters=("span",)),
)  # fmt: skip
