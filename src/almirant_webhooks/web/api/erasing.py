"""`/api/v1/events/{id}/erase` and `/api/v1/events/erase`: the content of events is erased, for operators."""

from __future__ import annotations

from aiohttp import web

from ... import clock
from ...actions import erasing as actions
from ...rules import values
from ...rules.erasing import NOT_OURS
from ...rules.principals import Role
from ..context import Context, context, principal
from . import answers, parsing
from .parsing import Body
from .routes import Route


class Erase(Body):
    """Which project's event, where several have the id."""

    project_id: str | None = None


class EraseSearch(Body):
    """All events with a text in their bodies; `dry_run` counts them and does nothing."""

    search: str
    project_id: str | None = None
    since: str | None = None
    dry_run: bool = False
    cursor: str | None = None


async def erase(request: web.Request) -> web.Response:
    """202: the tables are done; the files' free pages and WAL follow within seconds, or once no reader is in the way."""
    fields = await parsing.body(request, Erase)
    ctx = context(request)
    found = await actions.find(ctx, principal(request), request.match_info["id"], fields.project_id)
    return await _erased(request, ctx, found, "by id")


async def erase_many(request: web.Request) -> web.Response:
    """One bounded look: with a `next_cursor` there is more to look at, by the same request with that `cursor`."""
    fields = await parsing.body(request, EraseSearch)
    ctx = context(request)
    since = values.time(fields.since, "since", clock.now()) if fields.since is not None else None
    found = await actions.search(
        ctx, principal(request), fields.search, project_id=fields.project_id, since=since, cursor=fields.cursor
    )
    if fields.dry_run:
        counts = found.counts
        return parsing.answer(
            _answer(found, counts["events"], counts["deliveries"], counts["rejected_rows"]),
        )
    return await _erased(request, ctx, found, "by a search")


async def _erased(request: web.Request, ctx: Context, found: actions.Found, how: str) -> web.Response:
    erasing = actions.Erasing(ctx, principal(request), found, how=how, now=clock.now())
    if found.events or found.rejected:
        while await erasing.step():
            pass
    erased = erasing.erased
    return parsing.answer(_answer(found, erased["events"], erased["deliveries"], erased["outbox_rows"]), 202)


def _answer(found: actions.Found, events: int, deliveries: int, rows: int) -> answers.Erased:
    return {
        "events": events,
        "deliveries": deliveries,
        "outbox_rows": rows,
        "next_cursor": found.cursor,
        "not_reached": list(NOT_OURS),
    }


ROUTES = (
    Route("POST", "/api/v1/events/erase", "eraseEvents", erase_many, "Erase the content of all events with a text, or count them",
          {200: answers.Erased, 202: answers.Erased}, roles=(Role.OPERATOR,), body=EraseSearch),
    Route("POST", "/api/v1/events/{id}/erase", "eraseEvent", erase, "Erase the content of an event", {202: answers.Erased},
          roles=(Role.OPERATOR,), body=Erase),
)  # fmt: skip
