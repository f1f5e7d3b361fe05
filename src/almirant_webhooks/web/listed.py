"""Selections by an event type that is not there: refused with a suggestion, in place of an empty list or a count of none."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from ..actions import resends
from ..actions.unlisted import refuse_unlisted
from ..rules.selection import EventSelection, Selection
from .context import context, principal, scope


async def check_type(request: web.Request, selection: Selection | EventSelection, name: str) -> None:
    """Raise `Refused` for a type outside the catalogue of which the newest 10,000 events have none.

    Call it for a selection that nothing has matched; `name` is the parameter that the type came by.
    """
    if selection.event_type is None:
        return
    ctx = context(request)
    of_type = EventSelection(project_id=selection.project_id, event_type=selection.event_type)
    if not (await ctx.read(ctx.reading.log.events, of_type, limit=1, cursor=None)).items:
        refuse_unlisted(ctx.settings, selection.event_type, name)


async def count_resend(request: web.Request, selection: Selection) -> resends.Counted:
    """Count what would be sent again; raises `Refused` and `NotFound` as `count_some` does, and for a type that is not there."""
    counted = await resends.count_some(context(request), principal(request), selection)
    if not counted.total and not counted.rest:
        await check_type(request, replace(selection, project_id=scope(request, selection.project_id)), "event_type")
    return counted
