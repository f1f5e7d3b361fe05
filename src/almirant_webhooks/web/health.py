"""`/healthz`, `/readyz` and `/metrics`: open to all, naming no project and no URL."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from ..metrics import Metrics


def make_app(not_ready: Callable[[], str | None], metrics: Metrics) -> web.Application:
    """Make the application; `not_ready` says in a sentence why the daemon does not deliver, or None when it does."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        reason = not_ready()
        if reason is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "reason": reason}, status=503)

    async def page(_: web.Request) -> web.Response:
        metrics.ready.set(not_ready() is None)
        return web.Response(body=metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", page)])
    return app
