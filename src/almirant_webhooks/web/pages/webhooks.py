"""The list of webhooks, and the overview of one."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta

from aiohttp import hdrs, web

from ... import clock
from ...actions import webhook_secrets
from ...model import Refused, Secrets, Webhook
from ...rules import presets
from ...rules.event_types import catalogue_of, patterns_for
from ...rules.values import whole
from ...storage.engine import MOST_WAITING
from ..context import context, principal, scope
from . import plots
from .page import people, show, webhook_of

PAGE = 100
MOST_PAGES = 10**9
_SPANS = {"24h": 24, "7d": 168}
_FRESH = web.AppKey("fresh secrets", dict[tuple[str | None, str], float])
_FRESH_FOR = 60.0  # seconds


def note_fresh(request: web.Request, webhook_id: str) -> None:
    """Let the page that follows in this session, and in no other, show the new secret once."""
    fresh = request.config_dict[_FRESH]
    limit = time.monotonic() - _FRESH_FOR
    for old in [key for key, created_at in fresh.items() if created_at < limit]:
        del fresh[old]
    fresh[principal(request).session, webhook_id] = time.monotonic()


@people
async def list_(request: web.Request) -> web.Response:
    """Show the webhooks of a project, or of all to the operator."""
    ctx, now = context(request), clock.now()
    project = scope(request, request.query.get("project", "").strip() or None)
    at = 1
    with suppress(Refused):
        at = whole(request.query.get("page", ""), "page", 1, MOST_PAGES)
    since, offset = now - timedelta(hours=23), (at - 1) * PAGE
    rows, more = await ctx.read(ctx.reading.summaries.page, project, since, limit=PAGE, offset=offset)
    ids = [row["webhook"].id for row in rows if row["webhook"].rate_limit is not None]
    waiting = await ctx.read(ctx.reading.rates.waiting, ids, now, MOST_WAITING) if ids else {}
    operator = principal(request).project_id is None
    return show(
        request,
        "webhooks.html",
        section="/webhooks",
        project=project if operator else None,
        projects=await ctx.read(ctx.reading.summaries.projects, 500) if operator else [],
        webhooks=[
            {
                **row,
                "plot": plots.attempts(plots.hours(row["hours"], now, 24)),
                "rate_limited": waiting.get(row["webhook"].id, 0),
            }
            for row in rows
        ],
        most_waiting=MOST_WAITING,
        page=at,
        next_page=at + 1 if more else None,
    )


@people
async def overview(request: web.Request) -> web.Response:
    """Show one webhook; right after its secret was made, to whoever made it, the secret too, which is written down."""
    webhook = await webhook_of(request)
    fresh, key = request.config_dict[_FRESH], (principal(request).session, webhook.id)
    created_at = fresh.get(key)
    # Other tabs look again and again, and HEAD shows nothing.
    if created_at is None or request.method != hdrs.METH_GET or "X-Live" in request.headers:
        return await _show(request, webhook.id, None, fresh=False)
    del fresh[key]
    if time.monotonic() - created_at >= _FRESH_FOR:
        return await _show(request, webhook.id, None, fresh=False)
    try:
        secrets = await _reveal(request, webhook.id)
    except BaseException:
        fresh[key] = created_at
        raise
    return await _show(request, webhook.id, Secrets(secrets.next or secrets.current), fresh=True)


@people
async def reveal(request: web.Request) -> web.Response:
    """Show the secret; who looked is written down."""
    webhook = await webhook_of(request)
    return await _show(request, webhook.id, await _reveal(request, webhook.id), fresh=False)


async def _reveal(request: web.Request, webhook_id: str) -> Secrets:
    return await webhook_secrets.reveal(context(request), principal(request), webhook_id, now=clock.now())


async def _show(request: web.Request, webhook_id: str, secrets: Secrets | None, *, fresh: bool) -> web.Response:
    ctx, now = context(request), clock.now()
    span = request.query.get("span", "24h")
    count = _SPANS.get(span, 24)
    summary = await ctx.read(ctx.reading.summaries.webhook, webhook_id, now - timedelta(hours=count - 1), now)
    waiting = await ctx.read(ctx.reading.rates.waiting, [webhook_id], now, MOST_WAITING)
    hours = plots.hours(summary["hours"], now, count)
    types = catalogue(request, summary["webhook"].project_id)
    subscribed = [event_type for event_type in types if set(patterns_for(event_type)) & set(summary["webhook"].events)]
    return show(
        request,
        "webhook.html",
        section="/webhooks",
        span=span if span in _SPANS else "24h",
        plot=plots.attempts(hours),
        latency=plots.latency(hours),
        secrets=secrets,
        ready_template=presets.title(summary["webhook"].template or ""),
        fresh=fresh,
        catalogue=types,
        sample=(subscribed or types)[0],
        per_webhook=ctx.settings.delivery.concurrency_per_webhook,
        rate_limited=waiting.get(webhook_id, 0),
        most_waiting=MOST_WAITING,
        why_not_opened=await _why_not_opened(request, summary["webhook"]),
        attempts_in_all=len(ctx.settings.delivery.retry_schedule),
        **summary,
    )


async def _why_not_opened(request: web.Request, webhook: Webhook) -> str | None:
    """Say why a webhook was disabled whose secrets cannot be opened, None for any other."""
    ctx = context(request)
    return None if webhook.enabled else await ctx.read(ctx.reading.sealed.why_not_opened, webhook.id)


def catalogue(request: web.Request, project_id: str = "") -> tuple[str, ...]:
    """Return the event types that there are for a project's webhooks."""
    return catalogue_of(project_id, context(request).settings.events.extra_types)


def add(app: web.Application) -> None:
    """Add the routes."""
    app[_FRESH] = {}
    app.add_routes(
        [
            web.get("/webhooks", list_),
            web.get("/webhooks/{id:wh_[^/]+}", overview),
            web.post("/webhooks/{id:wh_[^/]+}/secret", reveal),
        ]
    )
