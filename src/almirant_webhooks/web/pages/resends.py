"""Many resends at once: counted, asked for at a button that says how many, followed, and cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aiohttp import web

from ... import clock
from ...actions import reach
from ...actions import resends as actions
from ...model import Refused
from ...rules.resending import progress
from ...rules.selection import Selection
from ...rules.texts import Text, plural
from ...storage.records import Progress, Resend, ResendKind
from ..context import context, principal, scope
from ..listed import count_resend
from ..values import check_names
from . import questions, selecting
from .formatting import number
from .page import changing, check_params, list_cursor, people, read_form, redirect, show
from .webhooks import catalogue

PAGE = 50
_SHOWN = 20  # webhooks in the count
_NAMES = ("state", "status", "event_type", "since", "until", "cause", "event_id", "project", "webhook")
_FOLDED = ("until", "cause", "event_id", "project", "webhook")


@people
async def list_(request: web.Request) -> web.Response:
    """Show the resends of a project, or of all to the operator, newest first."""
    check_params(request, "project")
    cursor = list_cursor(request, r"rsd_\w{1,64}")
    typed = selecting.typed(request.query, ("project",))
    project = scope(request, typed.project or None)
    ctx = context(request)
    rows = await ctx.read(ctx.reading.resends.find, project_id=project, before=cursor, limit=PAGE + 1)
    return show(
        request,
        "resends.html",
        section="/deliveries",
        rows=rows[:PAGE],
        words=_words,
        older=typed.url("/resends", before=rows[PAGE - 1]["id"]) if len(rows) > PAGE else None,
        newest=typed.url("/resends") if cursor else None,
    )


@changing
async def ask(request: web.Request) -> web.Response:
    """Show how many deliveries are selected, and the button that sends them again."""
    return await _ask(request, request.query)


async def _ask(request: web.Request, params: Mapping[str, str], problem: str = "") -> web.Response:
    ctx = context(request)
    typed = selecting.typed(params, _NAMES, _FOLDED)
    project = scope(request, typed.project or None)
    counted = actions.Counted({}, ())
    fixed: dict[str, str] = {}
    narrow = True
    try:
        check_names(params, (*_NAMES, "done"))
        selection = _selection(typed, project)
        # Times are fixed here, so that what is sent is what the button counted.
        texts = selection.dump()
        fixed = {name: texts[name] for name in ("since", "until") if name in texts}
        fixed.setdefault("until", clock.text(clock.now()))
        narrow = selection.is_narrow
        if narrow:
            counted = await count_resend(request, selection)
    except Refused as refused:
        problem = problem or refused.message
    counts = counted.by_webhook
    if counted.rest and not counts:
        problem = problem or actions.NONE_YET
    largest_first = sorted(counts, key=lambda webhook: -counts[webhook])
    return show(
        request,
        "resend_many.html",
        section="/deliveries",
        status=422 if problem else 200,
        typed=typed,
        fixed={**typed.values, **fixed},
        problem=problem,
        narrow=narrow,
        total=counted.total,
        how_many=_how_many(counted),
        counts={webhook: counts[webhook] for webhook in largest_first[:_SHOWN]},
        webhooks=len(largest_first),
        names=await ctx.read(ctx.reading.summaries.names, largest_first[:_SHOWN]),
        catalogue=catalogue(request),
    )


def _how_many(counted: actions.Counted) -> Text:
    """Say on the button how many deliveries were counted, and whether there may be more."""
    if counted.rest and counted.total > actions.MOST_COUNTED:
        return Text("Resend more than {number} deliveries", number=number(actions.MOST_COUNTED))
    total = number(counted.total)
    if counted.rest:
        return plural(
            "Resend all that match, at least {number} delivery",
            "Resend all that match, at least {number} deliveries",
            counted.total,
            number=total,
        )
    return plural("Resend {number} delivery", "Resend {number} deliveries", counted.total, number=total)


def _selection(typed: selecting.Typed, project: str | None) -> Selection:
    """Return what was typed, within the project."""
    return replace(selecting.deliveries(typed, clock.now()), project_id=project)


@people
async def start(request: web.Request) -> web.Response:
    """Begin to send again what is selected."""
    params = {name: str(value) for name, value in (await read_form(request)).items()}
    typed = selecting.typed(params, _NAMES)
    project = scope(request, typed.project or None)
    try:
        check_names(params, _NAMES)
        selection = _selection(typed, project)
        counted = await count_resend(request, selection)
        started = await actions.resend_many(
            context(request), principal(request), selection, now=clock.now(), counted=counted
        )
    except Refused as refused:
        return await _ask(request, params, refused.message)
    raise redirect(f"/resends/{started.id}", done="resend-started")


@people
async def detail(request: web.Request) -> web.Response:
    """Show how far one is."""
    ctx = context(request)
    resend = await reach.bulk_resend(ctx, principal(request), request.match_info["id"])
    webhook = resend["filters"].get("webhook_id")
    names = await ctx.read(ctx.reading.summaries.names, [webhook] if webhook else [])
    return show(request, "resend.html", section="/deliveries", resend=resend, names=names, words=_words(resend))


def _words(resend: Resend) -> Text:
    return progress(
        is_replay=resend["kind"] is ResendKind.REPLAY,
        state=resend["state"],
        **{name: resend[name] for name in ("matched", "requested", "succeeded", "failed")},
    )


@changing
async def ask_cancel(request: web.Request) -> web.Response:
    """Ask, with how far it is."""
    resend = await reach.bulk_resend(context(request), principal(request), request.match_info["id"])
    path = f"/resends/{resend['id']}"
    if resend["state"] != Progress.RUNNING:
        raise redirect(path, done="resend-over")
    return questions.ask(
        request,
        f"{path}/cancel",
        Text("Send nothing more"),
        [_words(resend), Text("What waits is not sent, and what is in flight ends. This cannot be undone.")],
        [("yes", "1", Text("Send nothing more"), "is-danger")],
        section="/deliveries",
        above=Text("Replay") if resend["kind"] is ResendKind.REPLAY else Text("Resend of many"),
        back=path,
    )


@people
async def cancel(request: web.Request) -> web.Response:
    """Send nothing more of it."""
    resend_id = request.match_info["id"]
    await actions.cancel_many(context(request), principal(request), resend_id, now=clock.now())
    raise redirect(f"/resends/{resend_id}", done="resend-cancelled")


def add(app: web.Application) -> None:
    """Add the routes."""
    path = "/resends/{id:rsd_[^/]+}"
    app.add_routes(
        [
            web.get("/resends", list_),
            web.post("/resends", start),
            web.get("/resends/new", ask),
            web.get(path, detail),
            web.get(f"{path}/cancel", ask_cancel),
            web.post(f"{path}/cancel", cancel),
        ]
    )
