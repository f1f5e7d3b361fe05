"""What is done to a webhook at a button: on and off, a test, another secret, delete. What cannot be undone asks first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from ... import clock
from ...actions import webhook_secrets
from ...actions import webhooks as actions
from ...model import Refused, Webhook
from ...rules.texts import Text, plural
from ..context import context, principal
from . import questions
from .formatting import number
from .page import changing, local_path, people, read_form, redirect, webhook_of
from .webhooks import note_fresh


def _ask(
    request: web.Request, webhook: Webhook, action: str, title: str, lines: Sequence[Text], **more: Any
) -> web.Response:
    values = {"back": f"/webhooks/{webhook.id}", "section": "/webhooks", "webhook": webhook, **more}
    return questions.ask(request, f"/webhooks/{webhook.id}/{action}", title, lines, **values)


async def _held(request: web.Request, webhook: Webhook) -> str:
    """Return how many deliveries are held in words, or an empty text for none."""
    ctx = context(request)
    summary = (await ctx.read(ctx.reading.summaries.of_webhooks, [webhook.id])).get(webhook.id)
    if summary is None or not summary["held"]:
        return ""
    return number(summary["held"]) + ("+" if summary["held_more"] else "")


@changing
async def ask_enable(request: web.Request) -> web.Response:
    """Ask what becomes of the deliveries that are held."""
    webhook = await webhook_of(request)
    held = await _held(request, webhook)
    lines = (
        [
            plural(
                "{number} delivery is held. It can go out now, or be discarded, which cannot be undone.",
                "{number} deliveries are held. They can go out now, or be discarded, which cannot be undone.",
                1 if held == "1" else 2,
                number=held,
            )
        ]
        if held
        else []
    )
    answers = [
        ("held", "deliver", Text("Enable and deliver {number}", number=held) if held else Text("Enable"), "primary")
    ]
    answers += [("held", "discard", Text("Enable and discard {number}", number=held), "is-danger")] if held else []
    back = local_path(request.query.get("back", ""), "/webhooks")
    return _ask(
        request, webhook, "enable", Text("Enable this webhook"), lines, answers=answers, back=back, leads_back=True
    )


@people
async def enable(request: web.Request) -> web.Response:
    """Enable a webhook; with deliveries held and no choice made, ask."""
    webhook = await webhook_of(request)
    form = await read_form(request)
    choice, back = str(form.get("held", "")), local_path(form.get("back", ""), "/webhooks")
    held = await _held(request, webhook)
    if held and choice not in ("deliver", "discard"):
        raise redirect(f"/webhooks/{webhook.id}/enable", back=back)
    discard = bool(held) and choice == "discard"
    await actions.enable(context(request), principal(request), webhook.id, now=clock.now(), discard_held=discard)
    raise redirect(back, done="enabled-discarded" if discard else "enabled-held" if held else "enabled")


@people
async def disable(request: web.Request) -> web.Response:
    """Disable a webhook: its deliveries are held."""
    back = local_path((await read_form(request)).get("back", ""), "/webhooks")
    await actions.disable(context(request), principal(request), request.match_info["id"], now=clock.now())
    raise redirect(back, done="disabled")


@changing
async def ask_delete(request: web.Request) -> web.Response:
    """Ask, and say what goes with it."""
    webhook = await webhook_of(request)
    ctx = context(request)
    count, is_all = await ctx.read(ctx.reading.webhooks.delivery_count, webhook.id)
    lines = [
        plural(
            "It goes with its secret, its settings and its delivery with all attempts. This cannot be undone.",
            "It goes with its secret, its settings and its {number} deliveries with all attempts. This cannot be undone.",
            count,
            number=f"{number(count)}{'' if is_all else '+'}",
        )
    ]
    return _ask(
        request,
        webhook,
        "delete",
        Text("Delete this webhook"),
        lines,
        answers=[("yes", "1", Text("Delete for good"), "is-danger")],
    )


@people
async def delete(request: web.Request) -> web.Response:
    """Delete a webhook with its history."""
    await actions.delete(context(request), principal(request), request.match_info["id"], now=clock.now())
    raise redirect("/webhooks", done="deleted")


@people
async def test(request: web.Request) -> web.Response:
    """Send a sample event to this webhook alone; what becomes of it is shown where it was asked for."""
    ctx = context(request)
    form = await read_form(request)
    delivery_id = await actions.send_test(
        ctx,
        principal(request),
        request.match_info["id"],
        now=clock.now(),
        settings=ctx.settings,
        event_type=str(form.get("event_type", "")),
    )
    if back := local_path(form.get("back", ""), ""):
        raise redirect(back, test=delivery_id, fragment="test-title")
    raise redirect(f"/deliveries/{delivery_id}", done="tested")


@changing
async def ask_rotate(request: web.Request) -> web.Response:
    """Ask when the new secret begins to sign."""
    return _ask_rotate(request, await webhook_of(request))


def _ask_rotate(request: web.Request, webhook: Webhook, typed: str = "", problem: str = "") -> web.Response:
    lines = [
        Text(
            "If you switch in 24 hours, the old secret goes on signing until then. In that time either put the new secret "
            "into the receiver beside the old one, so that it accepts both, or replace the old one exactly at the switch. A "
            "receiver that has the new secret alone before the switch refuses what is sent to it."
        ),
        Text("If you switch now, the new secret signs from the next attempt on. Put it into the receiver at once."),
    ]
    answers = [
        ("switch_after", "24h", Text("Switch in 24 hours"), "primary"),
        ("switch_after", "0s", Text("Switch now"), ""),
    ]
    return _ask(
        request,
        webhook,
        "rotate-secret",
        Text("Replace the secret"),
        lines,
        status=422 if problem else 200,
        answers=answers,
        own_secret=True,
        typed=typed,
        problem=problem,
    )


@people
async def rotate(request: web.Request) -> web.Response:
    """Begin the change to a new secret, or take it back before its switch."""
    webhook = await webhook_of(request)
    form = await read_form(request)
    cancel = bool(form.get("cancel"))
    typed = "" if cancel else str(form.get("secret", ""))
    try:
        await webhook_secrets.rotate(
            context(request),
            principal(request),
            webhook.id,
            now=clock.now(),
            secret=typed or None,
            switch_after=None if cancel else str(form.get("switch_after", "")) or None,
            cancel=cancel,
        )
    except Refused as refused:
        if refused.field != "secret":
            raise
        return _ask_rotate(request, webhook, typed, refused.message)
    if cancel:
        raise redirect(f"/webhooks/{webhook.id}", done="kept")
    await note_fresh(request, webhook.id)
    raise redirect(f"/webhooks/{webhook.id}", done="rotated")


def add(app: web.Application) -> None:
    """Add the routes."""
    path = "/webhooks/{id:wh_[^/]+}"
    app.add_routes(
        [
            web.get(f"{path}/enable", ask_enable),
            web.post(f"{path}/enable", enable),
            web.post(f"{path}/disable", disable),
            web.get(f"{path}/delete", ask_delete),
            web.post(f"{path}/delete", delete),
            web.post(f"{path}/test", test),
            web.get(f"{path}/rotate-secret", ask_rotate),
            web.post(f"{path}/rotate-secret", rotate),
        ]
    )
