"""Selections by a webhook or an event type that is not there: refused with a suggestion, in place of an empty list or a count of none."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from ..actions import resends
from ..actions.unlisted import refuse_unlisted, unknown_webhook
from ..model import NotFound
from ..rules.selection import AuditSelection, EventSelection, Selection
from .context import context, principal, scope


async def check_there(
    request: web.Request, selection: Selection | EventSelection, *, event_type: str, webhook: str = "webhook"
) -> None:
    """Raise `Refused` for a webhook that is not there, and for a type outside the catalogue of which the newest 10,000 events have none.

    Call it for a selection that nothing has matched; the names are those of the parameters that they came by.
    """
    ctx = context(request)
    if isinstance(selection, Selection) and selection.webhook_id is not None:
        await _check_webhook(request, selection.webhook_id, selection.project_id, webhook)
    if selection.event_type is None:
        return
    of_type = EventSelection(project_id=selection.project_id, event_type=selection.event_type)
    if not (await ctx.read(ctx.reading.log.events, of_type, limit=1, cursor=None)).items:
        refuse_unlisted(ctx.settings, selection.event_type, event_type)


async def check_entries(request: web.Request, selection: AuditSelection) -> None:
    """Raise `Refused` for a webhook that neither is there nor ever was; call it where no entry of the trail has matched."""
    if selection.webhook_id is None:
        return
    ctx = context(request)
    of_webhook = AuditSelection(project_id=selection.project_id, webhook_id=selection.webhook_id)
    if not await ctx.read(ctx.reading.audit.entries, of_webhook, limit=1):
        await _check_webhook(request, selection.webhook_id, selection.project_id, "webhook")


async def _check_webhook(request: web.Request, webhook_id: str, project: str | None, name: str) -> None:
    ctx = context(request)
    try:
        webhook = await ctx.read(ctx.reading.webhooks.get, webhook_id)
    except NotFound:
        raise unknown_webhook(webhook_id, name) from None
    if project not in (None, webhook.project_id):
        raise unknown_webhook(webhook_id, name)


async def count_resend(request: web.Request, selection: Selection, *, webhook: str = "webhook") -> resends.Counted:
    """Count what would be sent again; raises `Refused` and `NotFound` as `count_some` does, and for what is not there."""
    counted = await resends.count_some(context(request), principal(request), selection)
    if not counted.total and not counted.rest:
        within = replace(selection, project_id=scope(request, selection.project_id))
        await check_there(request, within, event_type="event_type", webhook=webhook)
    return counted
