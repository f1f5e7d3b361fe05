"""`/api/v1/deliveries` and `/api/v1/resends`: the log, one delivery, and sending again."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ... import clock
from ...actions import reach
from ...actions import resends as actions
from ...rules import selection
from ...storage.sqlite import log, resends, search
from ..context import check_reach, context, principal, scope
from . import parsing
from .parsing import FILTERS, Body
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


def public(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `delivery_log` as the API has it."""
    fields = {name: value for name, value in row.items() if name not in ("delivery_id", "id")}
    return {"id": row["delivery_id"], **fields, "held": bool(row["held"])}


async def list_(request: web.Request) -> web.Response:
    """Newest first; a page that stopped early says down to which time it has looked, and has a cursor."""
    given = parsing.query(request)
    asked = parsing.filters(request, given)
    here = context(request)
    cursor = parsing.cursor(given, r"dlv_\w{1,64}")
    found = await here.read(search.deliveries, asked, limit=parsing.limit(given), cursor=cursor)
    more: dict[str, object] = {"looked_back_to": found.looked_back_to}
    if parsing.flag(given, "count"):
        total, whole = await here.read(search.count, asked)
        more["count"] = {"value": total, "complete": whole}
    return parsing.page([public(row) for row in found.items], found.next_cursor, **more)


async def reached(request: web.Request) -> dict[str, Any]:
    """Return the delivery of the path, if it is the caller's to see."""
    delivery_id = request.match_info["id"]
    found = await context(request).read(log.delivery, delivery_id)
    check_reach(request, found["project_id"], f"delivery {delivery_id}")
    return found


async def show(request: web.Request) -> web.Response:
    """With its body and every attempt: headers, answer, cause."""
    return parsing.answer(public(await reached(request)))


async def resend(request: web.Request) -> web.Response:
    """One attempt as soon as none is in flight; `asked` is false when one waits already."""
    await parsing.body(request, Body)
    delivery_id = request.match_info["id"]
    asked = await actions.resend(context(request), principal(request), [delivery_id], now=clock.now())
    return parsing.answer({"delivery_id": delivery_id, "asked": bool(asked)}, 202)


async def resend_many(request: web.Request) -> web.Response:
    """Counts first with `dry_run`; then a piece of work that can be followed and cancelled."""
    given = await parsing.body(request, Resend)
    written = {**given.model_dump(exclude={"dry_run"}), "project_id": scope(request, given.project_id)}
    asked = selection.read(written, clock.now())
    here, who = context(request), principal(request)
    if given.dry_run:
        counts = await actions.count_many(here, who, asked)
        return parsing.answer({"deliveries": sum(counts.values()), "by_webhook": counts})
    started = await actions.resend_many(here, who, asked, now=clock.now())
    return parsing.answer(await here.read(resends.get, started.id), 202)


async def list_resends(request: web.Request) -> web.Response:
    """Newest first."""
    given = parsing.query(request)
    most = parsing.limit(given)
    found = await context(request).read(
        resends.find,
        project_id=scope(request, given.get("project")),
        before=parsing.cursor(given, r"rsd_\w{1,64}"),
        limit=most + 1,
    )
    return parsing.page(found[:most], found[most - 1]["id"] if len(found) > most else None)


async def show_resend(request: web.Request) -> web.Response:
    """How far it is."""
    return parsing.answer(await reach.bulk_resend(context(request), principal(request), request.match_info["id"]))


async def cancel_resend(request: web.Request) -> web.Response:
    """What is in flight ends; nothing more is sent of it."""
    await parsing.body(request, Body)
    here, resend_id = context(request), request.match_info["id"]
    await actions.cancel_many(here, principal(request), resend_id, now=clock.now())
    return parsing.answer(await here.read(resends.get, resend_id))


_MANY = "/api/v1/resends"
ROUTES = (
    Route("GET", "/api/v1/deliveries", list_, "List deliveries, newest first", {200: "DeliveryPage"},
          parameters=(*FILTERS, "limit", "cursor", "count")),
    Route("GET", "/api/v1/deliveries/{id}", show, "Show a delivery with every attempt", {200: "Delivery"}),
    Route("POST", "/api/v1/deliveries/{id}/resend", resend, "Send a delivery again", {202: "Asked"}, body=Body),
    Route("POST", _MANY, resend_many, "Send many deliveries again, or count them", {200: "Object", 202: "Object"}, body=Resend),
    Route("GET", _MANY, list_resends, "List resends of many", {200: "Page"}, parameters=("project", "limit", "cursor")),
    Route("GET", f"{_MANY}/{{id}}", show_resend, "Show how far a resend of many is", {200: "Object"}),
    Route("POST", f"{_MANY}/{{id}}/cancel", cancel_resend, "Cancel a resend of many", {200: "Object"}, body=Body),
)  # fmt: skip
