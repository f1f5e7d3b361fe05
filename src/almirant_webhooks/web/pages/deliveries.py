"""The log of deliveries, of one webhook or across all, and one delivery with every attempt."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from ... import clock
from ...actions import resends as actions
from ...model import Refused, Webhook
from ...rules.selection import Selection
from ...storage.engine import MOST_COUNTED
from ...storage.records import Delivery
from ..context import check_reach, context, principal, scope
from . import selecting
from .formatting import day_and_time, number
from .page import check_params, list_cursor, local_path, people, read_form, redirect, show, webhook_of
from .webhooks import catalogue

PAGE = 50
_NAMES = ("state", "status", "event_type", "since", "until", "cause", "event_id", "text", "project")
_FOLDED = ("until", "cause", "event_id", "text", "project")


@people
async def across(request: web.Request) -> web.Response:
    """Show the deliveries of all webhooks."""
    return await _list(request, None)


@people
async def of_webhook(request: web.Request) -> web.Response:
    """Show the deliveries of one webhook."""
    return await _list(request, await webhook_of(request))


async def _list(request: web.Request, webhook: Webhook | None) -> web.Response:
    ctx = context(request)
    typed = selecting.typed(request.query, _NAMES, _FOLDED)
    path = f"/webhooks/{webhook.id}/deliveries" if webhook else "/deliveries"
    project = webhook.project_id if webhook else scope(request, typed.project or None)
    rows: list[Delivery] = []
    cursor, following, problem, remark, total = "", None, "", "", ""
    try:
        check_params(request, *_NAMES, "count")
        parsed = selecting.deliveries(typed, clock.now())
        selection = replace(parsed, project_id=project, webhook_id=webhook.id if webhook else None)
        cursor = list_cursor(request, r"dlv_\w{1,64}") or ""
        rows, following, remark = await _read(request, selection, cursor)
        if request.query.get("count"):
            total = await _count(request, selection)
    except Refused as refused:
        problem = refused.message
    here_now = typed.url(path, before=cursor, count="1" if total else "")
    return show(
        request,
        "deliveries.html",
        section="/webhooks" if webhook else "/deliveries",
        status=422 if problem else 200,
        webhook=webhook,
        path=path,
        here=here_now,
        typed=typed,
        problem=problem,
        remark=remark,
        rows=rows,
        names=await ctx.read(ctx.reading.summaries.names, list({row["webhook_id"] for row in rows})),
        attempts_in_all=len(ctx.settings.delivery.retry_schedule),
        catalogue=catalogue(request),
        # A resend of many goes by no text: the button would send more than is shown.
        many=None if typed.text else typed.url("/resends/new", webhook=webhook.id if webhook else ""),
        older=typed.url(path, before=following) if following else None,
        newest=typed.url(path) if cursor else None,
        total=total,
        count=typed.url(path, before=cursor, count="1"),
    )


async def _read(request: web.Request, selection: Selection, cursor: str) -> tuple[list[Delivery], str | None, str]:
    """Return rows, where the next page begins, and how far a search has looked that has not come to the end."""
    ctx = context(request)
    page = await ctx.read(ctx.reading.search.deliveries, selection, limit=PAGE, cursor=cursor or None)
    remark = ""
    if page.looked_back_to is not None:
        remark = f"Looked back to {day_and_time(page.looked_back_to)}. Older goes on from there."
    return page.items, page.next_cursor, remark


async def _count(request: web.Request, selection: Selection) -> str:
    """Say how many deliveries match; asked for at a link, since it can take as long as the page itself."""
    ctx = context(request)
    number_found, whole = await ctx.read(ctx.reading.search.count, selection)
    if whole:
        return f"{number(number_found)} {'delivery matches' if number_found == 1 else 'deliveries match'}."
    if number_found >= MOST_COUNTED:
        return f"More than {number(number_found)} deliveries match."
    return f"At least {number(number_found)} deliveries match; what is older than a page looks through was not counted."


@people
async def detail(request: web.Request) -> web.Response:
    """Show one delivery: every attempt side by side, and the body."""
    ctx = context(request)
    delivery = await ctx.read(ctx.reading.log.delivery, request.match_info["id"])
    check_reach(request, delivery["project_id"], f"delivery {delivery['delivery_id']}")
    return show(
        request,
        "delivery.html",
        section="/deliveries",
        delivery=delivery,
        webhook=await ctx.read(ctx.reading.webhooks.get, delivery["webhook_id"]),
        attempts_in_all=len(ctx.settings.delivery.retry_schedule),
    )


@people
async def resend(request: web.Request) -> web.Response:
    """Ask for one more attempt of one delivery."""
    ids = [request.match_info["id"]]
    requested = await actions.resend(context(request), principal(request), ids, now=clock.now())
    raise redirect(f"/deliveries/{request.match_info['id']}", done="resent" if requested else "waits")


@people
async def resend_selected(request: web.Request) -> web.Response:
    """Ask for one more attempt of each delivery that was selected."""
    form = await read_form(request)
    back = local_path(form.get("back", ""), "/deliveries")
    ids = [str(delivery_id) for delivery_id in form.getall("id", ())][: 2 * PAGE]
    if not ids:
        raise redirect(back)
    requested = await actions.resend(context(request), principal(request), ids, now=clock.now())
    raise redirect(back, done="resent" if requested else "waits")


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes(
        [
            web.get("/deliveries", across),
            web.get("/webhooks/{id:wh_[^/]+}/deliveries", of_webhook),
            web.post("/deliveries/resend", resend_selected),
            web.get("/deliveries/{id:dlv_[^/]+}", detail),
            web.post("/deliveries/{id:dlv_[^/]+}/resend", resend),
        ]
    )
