"""Replays: events counted first, sent at a button that says how many; and one event, sent from its own page."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from ... import clock
from ...actions import replays as actions
from ...model import Refused
from ...rules.replays import ReplayCount, ReplaySelection
from ..context import context, principal
from ..values import check_names
from . import selecting
from .page import changing, people, read_form, redirect, show, webhook_of
from .webhooks import catalogue

_NAMES = ("since", "until", "event", "include_cancelled")


@changing
async def ask(request: web.Request) -> web.Response:
    """Ask from when on; with an answer, show how many events that is and the button that sends them."""
    return await _ask(request, request.query)


async def _ask(request: web.Request, params: Mapping[str, str], problem: str = "") -> web.Response:
    ctx, now = context(request), clock.now()
    webhook = await webhook_of(request)
    typed = selecting.typed(params, _NAMES)
    counted: ReplayCount | None = None
    fixed: dict[str, str] = {}
    try:
        check_names(params, (*_NAMES, "done"))
        if typed.any and not problem:
            selection = _selection(webhook.id, typed)
            counted = await actions.count(ctx, principal(request), selection, now=now, settings=ctx.settings)
            # Times are fixed here, so that what is sent is what the button counted.
            fixed = {name: text for name, text in selection.dump().items() if name in _NAMES}
            fixed.setdefault("until", clock.text(now))
    except Refused as refused:
        problem = refused.message
    return show(
        request,
        "replay.html",
        section="/webhooks",
        status=422 if problem else 200,
        webhook=webhook,
        typed=typed,
        fixed=fixed,
        problem=problem,
        counted=counted,
        catalogue=catalogue(request, webhook.project_id),
    )


def _selection(webhook_id: str, typed: selecting.Typed) -> ReplaySelection:
    """Return what was typed; raises `Refused` for what means nothing."""
    return ReplaySelection.parse(
        webhook_id,
        since=typed.since or None,
        until=typed.until or None,
        event=typed.event or None,
        include_cancelled=bool(typed.include_cancelled),
        now=clock.now(),
    )


@people
async def start(request: web.Request) -> web.Response:
    """Begin to send them."""
    ctx = context(request)
    params = {name: str(value) for name, value in (await read_form(request)).items()}
    typed, webhook = selecting.typed(params, _NAMES), await webhook_of(request)
    try:
        check_names(params, _NAMES)
        selection = _selection(webhook.id, typed)
        started = await actions.start(ctx, principal(request), selection, now=clock.now(), settings=ctx.settings)
    except Refused as refused:
        return await _ask(request, params, refused.message)
    raise redirect(f"/resends/{started.id}", done="replay-started")


@people
async def send_to(request: web.Request) -> web.Response:
    """Send one event to a webhook that has no delivery of it."""
    form = await read_form(request)
    delivery_id = await actions.send_to(
        context(request),
        principal(request),
        request.match_info["id"],
        str(form.get("webhook", "")),
        project_id=str(form.get("project", "")) or None,
        now=clock.now(),
    )
    raise redirect(f"/deliveries/{delivery_id}", done="sent-to")


def add(app: web.Application) -> None:
    """Add the routes."""
    path = "/webhooks/{id:wh_[^/]+}/replay"
    app.add_routes([web.get(path, ask), web.post(path, start), web.post("/events/{id}/send-to", send_to)])
