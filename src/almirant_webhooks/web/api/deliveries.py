"""`/api/v1/deliveries` and `/api/v1/resends`: the log, one delivery, and sending again."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...actions import reach
from ...actions import resends as actions
from ...rules.selection import Selection
from ...storage import records
from ..context import check_reach, context, principal
from ..listed import check_there, count_resend
from . import answers, parsing
from .parsing import SELECTION, Body
from .routes import Route


class Resend(Body):
    """Which deliveries to send again; `dry_run` counts them and does nothing."""

    project_id: str | None = None
    webhook_id: str | None = None
    state: str | None = None
    status: str | None = None
    event_type: str | None = None
    event_id: str | None = None
    cause: str | None = None
    since: str | None = None
    until: str | None = None
    dry_run: bool = False


async def list_(request: web.Request) -> web.Response:
    """Newest first; a page that stopped early says down to which time it has looked, and has a cursor."""
    params = parsing.query(request)
    selection = parsing.selection(request, params)
    ctx = context(request)
    cursor = parsing.cursor(params, r"dlv_\w{1,64}")
    page = await ctx.read(ctx.reading.search.deliveries, selection, limit=parsing.limit(params), cursor=cursor)
    if not page.items and page.next_cursor is None and cursor is None:
        await check_there(request, selection, event_type="type")
    answer: answers.DeliveryPage = {
        "items": [answers.delivery(row) for row in page.items],
        "next_cursor": page.next_cursor,
        "looked_back_to": page.looked_back_to,
    }
    if parsing.flag(params, "count"):
        total, complete = await ctx.read(ctx.reading.search.count, selection, page if cursor is None else None)
        answer["count"] = {"value": total, "complete": complete}
    return parsing.answer(answer)


async def reached(request: web.Request) -> records.DeliveryDetails:
    """Return the delivery of the path, if it is the caller's to see."""
    delivery_id = request.match_info["id"]
    ctx = context(request)
    delivery = await ctx.read(ctx.reading.log.delivery, delivery_id)
    check_reach(request, delivery["project_id"], f"delivery {delivery_id}")
    return delivery


async def show(request: web.Request) -> web.Response:
    """With its body and its newest 50 attempts, oldest first: headers, answer, cause. `attempts` counts all that have ended."""
    return parsing.answer(answers.delivery_details(await reached(request)))


async def resend(request: web.Request) -> web.Response:
    """One attempt as soon as none is in flight; `asked` is false when one waits already."""
    await parsing.body(request, Body)
    delivery_id = request.match_info["id"]
    asked = await actions.resend(context(request), principal(request), [delivery_id], now=clock.now())
    answer: answers.Asked = {"delivery_id": delivery_id, "asked": bool(asked)}
    return parsing.answer(answer, 202)


async def resend_many(request: web.Request) -> web.Response:
    """Counts first with `dry_run`; then a piece of work that can be followed and cancelled."""
    body = await parsing.body(request, Resend)
    selection = Selection.parse(body.model_dump(exclude={"dry_run"}), clock.now())
    ctx, caller = context(request), principal(request)
    counted = await count_resend(request, selection, webhook="webhook_id")
    if body.dry_run:
        answer: answers.ResendCount = {
            "deliveries": counted.total,
            "by_webhook": dict(counted.by_webhook),
            "more": bool(counted.rest),
        }
        return parsing.answer(answer)
    started = await actions.resend_many(ctx, caller, selection, now=clock.now(), counted=counted)
    return parsing.answer(await ctx.read(ctx.reading.resends.get, started.id), 202)


async def list_resends(request: web.Request) -> web.Response:
    """Newest first."""
    params = parsing.query(request)
    limit = parsing.limit(params)
    ctx = context(request)
    rows = await ctx.read(
        ctx.reading.resends.find,
        project_id=parsing.project(request, params),
        before=parsing.cursor(params, r"rsd_\w{1,64}"),
        limit=limit + 1,
    )
    next_cursor = rows[limit - 1]["id"] if len(rows) > limit else None
    page: answers.ResendPage = {"items": rows[:limit], "next_cursor": next_cursor}
    return parsing.answer(page)


async def show_resend(request: web.Request) -> web.Response:
    """How far it is."""
    return parsing.answer(await reach.bulk_resend(context(request), principal(request), request.match_info["id"]))


async def cancel_resend(request: web.Request) -> web.Response:
    """What is in flight ends; nothing more is sent of it."""
    await parsing.body(request, Body)
    ctx, resend_id = context(request), request.match_info["id"]
    await actions.cancel_many(ctx, principal(request), resend_id, now=clock.now())
    return parsing.answer(await ctx.read(ctx.reading.resends.get, resend_id))


_MANY = "/api/v1/resends"
ROUTES = (
    Route("GET", "/api/v1/deliveries", "listDeliveries", list_, "List deliveries, newest first", {200: answers.DeliveryPage},
          parameters=(*SELECTION, "limit", "cursor", "count")),
    Route("GET", "/api/v1/deliveries/{id}", "getDelivery", show, "Show a delivery with its newest attempts", {200: answers.DeliveryDetails}),
    Route("POST", "/api/v1/deliveries/{id}/resend", "resendDelivery", resend, "Send a delivery again", {202: answers.Asked}, body=Body),
    Route("POST", _MANY, "createResend", resend_many, "Send many deliveries again, or count them",
          {200: answers.ResendCount, 202: records.Resend}, body=Resend),
    Route("GET", _MANY, "listResends", list_resends, "List resends of many", {200: answers.ResendPage},
          parameters=("project", "limit", "cursor")),
    Route("GET", f"{_MANY}/{{id}}", "getResend", show_resend, "Show how far a resend of many is", {200: records.Resend}),
    Route("POST", f"{_MANY}/{{id}}/cancel", "cancelResend", cancel_resend, "Cancel a resend of many", {200: records.Resend}, body=Body),
)  # fmt: skip
