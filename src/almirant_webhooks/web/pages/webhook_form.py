"""Create a webhook and change one: a form that keeps what was typed."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from ... import clock
from ...actions import previews
from ...actions import webhooks as actions
from ...model import NotFound, Outdated, Refused, Webhook
from ...rules import presets, versions
from ...rules.conditions import OPERATORS
from ...rules.texts import Text
from ..context import context, principal, scope
from . import form_fields
from .form_fields import WebhookForm
from .page import changing, people, read_form, redirect, show, webhook_of
from .webhooks import catalogue, note_fresh

_OWN_OR_GENERATED = Text(
    "A secret is typed here, and “Generate one” is chosen. Choose “Use my own”, or empty the field."
)


@changing
async def new(request: web.Request) -> web.Response:
    """Show an empty form."""
    project = scope(request, request.query.get("project") or None)
    return _show(request, WebhookForm(project_id=project or ""), None)


@people
async def create(request: web.Request) -> web.Response:
    """Create a webhook and show it with its secret."""
    ctx, caller = context(request), principal(request)
    form = form_fields.read(await read_form(request), caller.project_id)
    if form.secret and not form.own_secret:
        form.errors = {"secret": _OWN_OR_GENERATED}
        return _show(request, form, None)
    try:
        created = await actions.create(
            ctx,
            caller,
            now=clock.now(),
            settings=ctx.settings,
            project_id=form.project_id,
            url=form.url,
            events=form.events,
            secret=form.secret if form.own_secret else None,
            description=form.description,
            options=form.typed_options(),
        )
    except NotFound:
        raise
    except Refused as refused:
        form.errors = refused.by_field()
        return _show(request, form, None)
    await note_fresh(request, created.id)
    raise redirect(f"/webhooks/{created.id}")


@people
async def preview_new(request: web.Request) -> web.Response:
    """Show the form as it was sent, and what such a webhook would get."""
    return await _preview(request, None)


@people
async def preview(request: web.Request) -> web.Response:
    """Show the settings as they were sent, and what the webhook would get by them."""
    return await _preview(request, await webhook_of(request))


async def _preview(request: web.Request, webhook: Webhook | None) -> web.Response:
    ctx, caller = context(request), principal(request)
    form = form_fields.read(await read_form(request), webhook.project_id if webhook else caller.project_id)
    result, problem = None, ""
    try:
        result = await previews.preview(
            ctx,
            caller,
            settings=ctx.settings,
            webhook_id=webhook.id if webhook else None,
            project_id=None if webhook else form.project_id or None,
            events=form.events,
            options=form.typed_options(),
        )
    except NotFound:
        raise
    except Refused as refused:
        problem = refused.message
    return _show(request, form, webhook, preview=result, problem=problem)


@changing
async def edit(request: web.Request) -> web.Response:
    """Show a webhook's settings."""
    webhook = await webhook_of(request)
    return _show(request, form_fields.of_webhook(webhook), webhook)


@people
async def save(request: web.Request) -> web.Response:
    """Change a webhook's settings."""
    webhook = await webhook_of(request)
    ctx = context(request)
    form = form_fields.read(await read_form(request), webhook.project_id)
    try:
        await actions.update(
            ctx,
            principal(request),
            webhook.id,
            now=clock.now(),
            settings=ctx.settings,
            url=form.url,
            events=form.events,
            description=form.description,
            options=form.typed_options(webhook.headers or ()),
            check=partial(versions.check_settings, form.version) if form.version else None,
        )
    except NotFound:
        raise
    except Outdated as outdated:
        webhook = await webhook_of(request)
        form.version = versions.of_settings(webhook)
        return _show(request, form, webhook, outdated.message)
    except Refused as refused:
        form.errors = refused.by_field()
        return _show(request, form, webhook)
    raise redirect(f"/webhooks/{webhook.id}", done="saved")


def _show(
    request: web.Request,
    form: WebhookForm,
    webhook: Webhook | None,
    outdated: str = "",
    preview: previews.Preview | None = None,
    problem: str = "",
) -> web.Response:
    families = form_fields.families(catalogue(request, form.project_id))
    is_preview = preview is not None or bool(problem)
    return show(
        request,
        "webhook_form.html",
        place="" if is_preview else None,  # a reload of the form's own address would lose what was typed
        status=412 if outdated else 422 if form.errors or problem else 200,
        section="/webhooks",
        form=form,
        webhook=webhook,
        outdated=outdated,
        preview=preview,
        problem=problem,
        families=families,
        ready_templates=presets.TITLES,
        per_webhook=context(request).settings.delivery.concurrency_per_webhook,
        operators=OPERATORS,
        others=form_fields.others(form.events, families),
    )


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes(
        [
            web.get("/webhooks/new", new),
            web.post("/webhooks", create),
            web.post("/webhooks/preview", preview_new),
            web.post("/webhooks/{id:wh_[^/]+}/preview", preview),
            web.get("/webhooks/{id:wh_[^/]+}/edit", edit),
            web.post("/webhooks/{id:wh_[^/]+}/edit", save),
        ]
    )
