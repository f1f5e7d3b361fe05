"""The log of deliveries, of one webhook or across all."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from ... import clock
from ...actions import resends as actions
from ...model import Refused, Webhook
from ...rules.selection import Selection
from ...rules.texts import Text, plural
from ...storage.engine import MOST_COUNTED
from ...storage.records import Delivery, Page
from ..context import context, principal, scope
from ..listed import check_there
from . import selecting
from .form_fields import families
from .formatting import number, utc
from .page import check_params, list_cursor, local_path, people, read_form, redirect, show, webhook_of
from .webhooks import catalogue

PAGE = 50
_NAMES = ("state", "status", "event_type", "since", "until", "cause", "event_id", "text", "test", "project")
_FOLDED = ("until", "cause", "event_id", "test", "project")


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
        page = await ctx.read(ctx.reading.search.deliveries, selection, limit=PAGE, cursor=cursor or None)
        rows, following, remark = page.items, page.next_cursor, _remark(page.looked_back_to)
        if not rows and following is None and not cursor:
            await check_there(request, selection, event_type="event_type")
        if request.query.get("count"):
            total = await _count(request, selection, None if cursor else page)
    except Refused as refused:
        problem = refused.message
    types = catalogue(request)
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
        catalogue=types,
        families=families(types),
        # A resend of many goes by no text and has no tests: the button would send others than are shown.
        many=None
        if typed.text or typed.test == "true"
        else typed.url("/resends/new", webhook=webhook.id if webhook else "", test=""),
        older=typed.url(path, before=following) if following else None,
        newest=typed.url(path) if cursor else None,
        total=total,
        count=typed.url(path, before=cursor, count="1"),
    )


def _remark(looked_back_to: str | None) -> str:
    """Say how far a search has looked that has not come to the end."""
    if looked_back_to is None:
        return ""
    return Text("Looked back to {time}. Older goes on from there.", time=utc(looked_back_to))


async def _count(request: web.Request, selection: Selection, first: Page[Delivery] | None) -> str:
    """Say how many deliveries match; asked for at a link, since it can take as long as the page itself."""
    ctx = context(request)
    number_found, whole = await ctx.read(ctx.reading.search.count, selection, first)
    shown = number(number_found)
    if whole:
        return plural("{number} delivery matches.", "{number} deliveries match.", number_found, number=shown)
    if number_found >= MOST_COUNTED:
        return Text("More than {number} deliveries match.", number=shown)
    return Text(
        "At least {number} deliveries match; what is older than a page looks through was not counted.", number=shown
    )


@people
async def resend_selected(request: web.Request) -> web.Response:
    """Ask for one more attempt of each delivery that was selected."""
    form = await read_form(request)
    back = local_path(form.get("back", ""), "/deliveries")
    ids = [str(delivery_id) for delivery_id in form.getall("id", ())][: 2 * PAGE]
    if not ids:
        raise redirect(back)
    selected = await actions.resend_selected(context(request), principal(request), ids, now=clock.now())
    if selected.refused:
        left = {"n": str(selected.asked), "left": str(len(selected.refused))}
        raise redirect(back, done="resent-some" if selected.asked else "resent-none", **left)
    raise redirect(back, done="resent" if selected.asked else "waits")


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes(
        [
            web.get("/deliveries", across),
            web.get("/webhooks/{id:wh_[^/]+}/deliveries", of_webhook),
            web.post("/deliveries/resend", resend_selected),
        ]
    )
