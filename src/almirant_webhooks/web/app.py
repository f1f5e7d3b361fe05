"""The application on `admin.listen`: health and metrics, the JSON API, and the pages.

A route is added by a function `add(app)` of its module and says who may use it with `guard.allow(Role.…)`. Its handler
takes what it needs from `context`: `context(request).read(function_of_db, …)`, all on one snapshot, `.write(…)` (one transaction, then the
delivery loop looks), `.insert(…)` for events, `principal(request)` for who is asking (`.actor` for the audit trail) and
`scope(request)` or `check_reach(request, project_id, "webhook wh_…")` to stay within their project. It raises `Refused`
and `NotFound` as the functions of an engine do; `problems` turns them into answers.
"""

from __future__ import annotations

from aiohttp import web

from . import api, guard, health, idempotency, kept_answers, pages, problems
from .context import CONTEXT, Context, context, one_snapshot
from .limits import Failures
from .values import check_url

MAX_BODY = 1024 * 1024  # bytes of a request


@web.middleware
async def prepare(request: web.Request, handler: guard.Handler) -> web.StreamResponse:
    """Have pages prepared once the first one is asked for."""
    if not request.path.startswith("/api/") and not guard.is_same_for_all(request.match_info.handler):
        await context(request).prepare_pages()
    return await handler(request)


def make_app(ctx: Context) -> web.Application:
    """Make the application; raises AssertionError for a route that does not say who may use it."""
    failures = Failures()
    app = web.Application(
        client_max_size=MAX_BODY,
        middlewares=[
            guard.add_headers,
            kept_answers.lead_there,
            problems.error_middleware,
            one_snapshot,
            check_url,
            guard.check_host,
            prepare,
            guard.identify(failures),
            idempotency.carry_out_once(),
        ],
    )
    app[CONTEXT] = ctx
    health.add(app)
    api.add(app)
    pages.add(app, failures)
    kept_answers.add(app)
    for route in app.router.routes():
        assert guard.allowed_by(route.handler) is not None, f"{route.method} {route.resource} says not who may use it"
    return app
