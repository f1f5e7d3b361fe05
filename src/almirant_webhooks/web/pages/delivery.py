"""One delivery: what became of it, the receiver's answer, what was sent, and its attempts."""

from __future__ import annotations

from contextlib import suppress

from aiohttp import hdrs, web

from ... import clock
from ...actions import resends as actions
from ...model import NotFound, Refused
from ...rules import outcomes
from ...rules.names import name_of
from ...rules.outcomes import Attempt
from ...rules.texts import Text
from ...rules.values import whole
from ...storage.records import DeliveryDetails
from ..context import check_reach, context, principal
from .page import people, redirect, show

MOST_BODY = 32 * 1024  # characters of a body that a page shows; all of it is a file to download
MOST_CURL = 16 * 1024  # characters of a body that a command to copy has in it
_MOST_NUMBER = 10**9


async def _delivery(request: web.Request, shown: int = 0) -> DeliveryDetails:
    """Return the delivery that the path names, with the answer to the attempt `shown`; one of another project is not there."""
    ctx = context(request)
    delivery = await ctx.read(ctx.reading.log.delivery, request.match_info["id"], shown=shown)
    check_reach(request, delivery["project_id"], f"delivery {delivery['delivery_id']}")
    return delivery


@people
async def detail(request: web.Request) -> web.Response:
    """Show one delivery; the attempt whose answer is shown is the one that the address names, or the newest."""
    ctx = context(request)
    number = _number(request)
    delivery = await _delivery(request, number)
    attempts = delivery["attempt_list"]
    first = attempts[0]["number"] if attempts else 1
    before = await _attempt(request, delivery, first - 1)
    older_success = None
    if outcomes.lacks_success(delivery):
        older_success = await ctx.read(ctx.reading.log.older_success, delivery["delivery_id"], first)
    webhook = await ctx.read(ctx.reading.webhooks.get, delivery["webhook_id"])
    waits = [wait.total_seconds() for wait in ctx.settings.delivery.retry_schedule]
    return show(
        request,
        "delivery.html",
        section="/deliveries",
        delivery=delivery,
        webhook=webhook,
        name=name_of(webhook.description, webhook.url),
        outcome=outcomes.outcome(delivery, len(waits), older_success),
        following=outcomes.following(delivery, len(waits)),
        shown=await _shown(request, delivery, number),
        steps=outcomes.steps(attempts, before),
        left_out=outcomes.left_out(delivery),
        attempts_in_all=len(waits),
        waits_after=waits[delivery["tries"] + 1 :] if delivery["next_attempt_at"] else [],
        most_body=MOST_BODY,
        most_curl=MOST_CURL,
    )


def _number(request: web.Request) -> int:
    """Return the number of the attempt that is asked for, 0 for what is none."""
    text = request.query.get("attempt", "")
    with suppress(Refused):
        return whole(text, "attempt", 1, _MOST_NUMBER) if text else 0
    return 0


async def _attempt(request: web.Request, delivery: DeliveryDetails, number: int) -> Attempt | None:
    ctx = context(request)
    return await ctx.read(ctx.reading.log.attempt, delivery["delivery_id"], number) if number > 0 else None


async def _shown(request: web.Request, delivery: DeliveryDetails, number: int) -> Attempt | None:
    """Return the attempt that is asked for, however old it is, else the newest with an end, else the newest."""
    attempts = delivery["attempt_list"]
    if attempts and number < attempts[0]["number"]:
        older = await _attempt(request, delivery, number)
        if older is not None:
            return older
    ended = [attempt for attempt in attempts if attempt["outcome"] is not None]
    asked = [attempt for attempt in attempts if attempt["number"] == number]
    return next(reversed(asked or ended or attempts), None)


@people
async def body(request: web.Request) -> web.Response:
    """Answer with the bytes of the body as a file."""
    delivery = await _delivery(request)
    if delivery["body"] is None or delivery["erased_at"] is not None:
        raise NotFound(Text("Delivery {delivery_id} has no body.", delivery_id=delivery["delivery_id"]), "id")
    return json_file(delivery["delivery_id"], delivery["body"])


def json_file(name: str, text: str) -> web.Response:
    """Answer with a body as a file to download."""
    disposition = f'attachment; filename="{name}.json"'
    return web.Response(
        body=text.encode(), content_type="application/json", headers={hdrs.CONTENT_DISPOSITION: disposition}
    )


@people
async def resend(request: web.Request) -> web.Response:
    """Ask for one more attempt of one delivery."""
    ids = [request.match_info["id"]]
    requested = await actions.resend(context(request), principal(request), ids, now=clock.now())
    raise redirect(f"/deliveries/{request.match_info['id']}", done="resent" if requested else "waits")


def add(app: web.Application) -> None:
    """Add the routes."""
    path = "/deliveries/{id:dlv_[^/]+}"
    app.add_routes([web.get(path, detail), web.get(f"{path}/body", body), web.post(f"{path}/resend", resend)])
