"""The overview of a webhook."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from aiohttp import web

from ... import clock
from ...actions import webhook_secrets
from ...model import NotFound, Refused, Secrets, State, Webhook
from ...rules import activity, outcomes, presets, trouble
from ...rules.event_types import catalogue_of, patterns_for
from ...rules.sentences import Sentence
from ...rules.stored_texts import is_unopenable
from ...rules.trouble import MOST_WAITING
from ...storage.engine import StorageError
from ...storage.records import DeliveryDetails
from ..context import context, principal
from . import plots
from .formatting import pretty
from .page import IS_UNSCRIPTED, is_looked_at, people, redirect, show, webhook_of
from .verifiers import verifiers

_MOST_ANSWER = 2_000  # characters of the answer to a test


class Tested(NamedTuple):
    """What became of a test event; `refused`: by the status that receivers give to a wrong signature."""

    delivery: DeliveryDetails
    outcome: tuple[Sentence, ...]
    answer: str
    refused: bool
    is_open: bool


async def note_fresh(request: web.Request, webhook_id: str) -> None:
    """Let the page that follows in this session, and in no other, show the new secret once."""
    with suppress(StorageError, Refused):  # it can be revealed all the same
        await _promise(request, webhook_id, is_new=True)


@people
async def overview(request: web.Request) -> web.Response:
    """Show one webhook; right after its secret was made, to whoever made it, the secret too, which is written down."""
    webhook = await webhook_of(request)
    promised = None
    if is_looked_at(request):
        promised = await webhook_secrets.reveal_promised(
            context(request), principal(request), webhook.id, now=clock.now()
        )
    secrets, is_new = promised or (None, False)
    return await _show(request, webhook.id, secrets, fresh=is_new)


@people
async def reveal(request: web.Request) -> web.Response:
    """Show the secret; who looked is written down. Without scripts the page that shows it has an address."""
    webhook = await webhook_of(request)
    if request.get(IS_UNSCRIPTED):
        await _promise(request, webhook.id, is_new=False)
        raise redirect(f"/webhooks/{webhook.id}", done="revealed")
    secrets = await webhook_secrets.reveal(context(request), principal(request), webhook.id, now=clock.now())
    return await _show(request, webhook.id, secrets, fresh=False)


async def _promise(request: web.Request, webhook_id: str, *, is_new: bool) -> None:
    ctx = context(request).without_key()  # a form that is sent again is promised the same again
    await webhook_secrets.promise(ctx, principal(request), webhook_id, is_new=is_new, now=clock.now())


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
    notice: dict[str, Any] = {"notice": ""} if secrets is not None and not fresh else {}  # that it is shown no more
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
        **notice,
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
    app.add_routes(
        [
            web.get("/webhooks/{id:wh_[^/]+}", overview),
            web.post("/webhooks/{id:wh_[^/]+}/secret", reveal),
        ]
    )
