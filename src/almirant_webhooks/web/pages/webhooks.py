"""The overview of a webhook."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import NamedTuple

from aiohttp import hdrs, web

from ... import clock
from ...actions import webhook_secrets
from ...model import NotFound, Secrets, State, Webhook
from ...rules import activity, outcomes, presets, trouble
from ...rules.event_types import catalogue_of, patterns_for
from ...rules.sentences import Sentence
from ...rules.stored_texts import is_unopenable
from ...rules.trouble import MOST_WAITING
from ...storage.records import DeliveryDetails
from ..context import context, principal
from . import plots
from .formatting import pretty
from .page import people, show, webhook_of
from .verifiers import verifiers

_FRESH = web.AppKey("fresh secrets", dict[tuple[str | None, str], float])
_FRESH_FOR = 60.0  # seconds
_MOST_ANSWER = 2_000  # characters of the answer to a test


class Tested(NamedTuple):
    """What became of a test event; `refused`: by the status that receivers give to a wrong signature."""

    delivery: DeliveryDetails
    outcome: tuple[Sentence, ...]
    answer: str
    refused: bool
    is_open: bool


def note_fresh(request: web.Request, webhook_id: str) -> None:
    """Let the page that follows in this session, and in no other, show the new secret once."""
    fresh = request.config_dict[_FRESH]
    limit = time.monotonic() - _FRESH_FOR
    for old in [key for key, created_at in fresh.items() if created_at < limit]:
        del fresh[old]
    fresh[principal(request).session, webhook_id] = time.monotonic()


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
    span = activity.span_of(request.query.get("span") or activity.DEFAULT, "span")
    summary = await ctx.read(ctx.reading.summaries.webhook, webhook_id, now)
    counted = await ctx.read(ctx.reading.activity.counted, [webhook_id], activity.SPANS[span], now)
    waiting = await ctx.read(ctx.reading.rates.waiting, [webhook_id], now, MOST_WAITING)
    wrong = await ctx.read(ctx.reading.summaries.trouble, webhook_id)
    attempts_in_all = len(ctx.settings.delivery.retry_schedule)
    said = trouble.said(
        summary["webhook"],
        wrong,
        ahead=summary["waits_for"],
        rate_limited=waiting.get(webhook_id, 0),
        attempts_in_all=attempts_in_all,
    )
    bars = plots.span(counted["parts"], now, activity.SPANS[span])
    types = catalogue(request, summary["webhook"].project_id)
    subscribed = [event_type for event_type in types if set(patterns_for(event_type)) & set(summary["webhook"].events)]
    return show(
        request,
        "webhook.html",
        section="/webhooks",
        activity=activity.activity(counted, span, now),
        spans=tuple(activity.SPANS),
        plot=plots.attempts(bars),
        latency=plots.latency(bars),
        secrets=secrets,
        ready_template=presets.title(summary["webhook"].template or ""),
        fresh=fresh,
        catalogue=types,
        sample=(subscribed or types)[0],
        per_webhook=ctx.settings.delivery.concurrency_per_webhook,
        rate_limited=waiting.get(webhook_id, 0),
        most_waiting=MOST_WAITING,
        why_not_opened=await _why_not_opened(request, summary["webhook"]),
        attempts_in_all=attempts_in_all,
        said=said,
        trouble=wrong,
        first_run=summary["last_at"] is None,
        verifiers=verifiers(),
        tested=await _tested(request, webhook_id, request.query.get("test", "")),
        **summary,
    )


async def _tested(request: web.Request, webhook_id: str, delivery_id: str) -> Tested | None:
    """Return what became of a test of this webhook; None for an id that is of none."""
    ctx = context(request)
    delivery = None
    if delivery_id:
        with suppress(NotFound):
            delivery = await ctx.read(ctx.reading.log.delivery, delivery_id, shown=0)
    if delivery is None or delivery["webhook_id"] != webhook_id or not delivery["test"]:
        return None
    last = delivery["attempt_list"][-1] if delivery["attempt_list"] else None
    return Tested(
        delivery,
        outcomes.outcome(delivery, len(ctx.settings.delivery.retry_schedule)),
        pretty(last["response_body"])[:_MOST_ANSWER] if last is not None else "",
        last is not None and last["status_code"] in (401, 403),
        delivery["state"] is State.PENDING,
    )


async def _why_not_opened(request: web.Request, webhook: Webhook) -> str | None:
    """Say why the secrets of a disabled webhook cannot be opened; None for one of which the service has said so before."""
    ctx = context(request)
    return (
        None
        if webhook.enabled or is_unopenable(webhook.disabled_reason)
        else await ctx.read(ctx.reading.sealed.why_not_opened, webhook.id)
    )


def catalogue(request: web.Request, project_id: str = "") -> tuple[str, ...]:
    """Return the event types that there are for a project's webhooks."""
    return catalogue_of(project_id, context(request).settings.events.extra_types)


def add(app: web.Application) -> None:
    """Add the routes."""
    app[_FRESH] = {}
    app.add_routes(
        [
            web.get("/webhooks/{id:wh_[^/]+}", overview),
            web.post("/webhooks/{id:wh_[^/]+}/secret", reveal),
        ]
    )
