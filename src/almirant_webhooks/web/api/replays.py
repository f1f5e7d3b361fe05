"""`/api/v1/webhooks/{id}/replay` and `/api/v1/events/{id}/send-to`: kept events for a webhook that has none of them."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...actions import reach
from ...actions import replays as actions
from ...rules.replays import ReplayCount, ReplaySelection
from ...storage import records
from ..context import context, principal
from . import answers, parsing
from .parsing import Body
from .routes import Route


class Replay(Body):
    """Which events; `dry_run` counts them and does nothing."""

    since: str
    until: str | None = None
    event: str | None = None
    include_cancelled: bool = False
    dry_run: bool = False


class SendTo(Body):
    """The webhook that is to have the event; `project_id` is the project of both, as a check."""

    webhook_id: str
    project_id: str | None = None


async def replay(request: web.Request) -> web.Response:
    """Counts first with `dry_run`; then it is followed and cancelled as a resend of many."""
    fields = await parsing.body(request, Replay)
    ctx, caller, now = context(request), principal(request), clock.now()
    webhook = await reach.webhook(ctx, caller, request.match_info["id"])
    selection = ReplaySelection.parse(
        webhook.id,
        since=fields.since,
        until=fields.until,
        event=fields.event,
        include_cancelled=fields.include_cancelled,
        now=now,
    )
    if fields.dry_run:
        return parsing.answer(await actions.count(ctx, caller, selection, now=now, settings=ctx.settings))
    started = await actions.start(ctx, caller, selection, now=now, settings=ctx.settings)
    return parsing.answer(await ctx.read(ctx.reading.resends.get, started.id), 202)


async def send_to(request: web.Request) -> web.Response:
    """One delivery, which goes at once."""
    fields = await parsing.body(request, SendTo)
    delivery_id = await actions.send_to(
        context(request),
        principal(request),
        request.match_info["id"],
        fields.webhook_id,
        project_id=fields.project_id,
        now=clock.now(),
    )
    answer: answers.SentTo = {"delivery_id": delivery_id}
    return parsing.answer(answer, 202)


ROUTES = (
    Route("POST", "/api/v1/webhooks/{id}/replay", "replayEvents", replay, "Send a webhook the kept events that it lacks, or count them",
          {200: ReplayCount, 202: records.Resend}, body=Replay),
    Route("POST", "/api/v1/events/{id}/send-to", "sendEventTo", send_to, "Send an event to a webhook that has no delivery of it",
          {202: answers.SentTo}, body=SendTo),
)  # fmt: skip
