"""`/healthz`, `/readyz` and `/metrics`: open to all, naming no project and no URL."""

from __future__ import annotations

from aiohttp import web

from .context import context
from .guard import allow


@allow(knows_nobody=True)
async def healthz(_: web.Request) -> web.Response:
    """Answer as long as the process does."""
    return web.json_response({"status": "ok"})


@allow(knows_nobody=True)
async def readyz(request: web.Request) -> web.Response:
    """Answer 200 while the daemon delivers, with its share if there are others, else 503 with the reason in a sentence.

    One that waits for its share is ready: it serves pages.
    """
    ctx = context(request)
    reason = ctx.not_ready()
    if reason is None:
        share = ctx.share()
        return web.json_response({"status": "ready"} if share is None else {"status": "ready", "share": share})
    return web.json_response({"status": "not ready", "reason": reason}, status=503)


@allow(knows_nobody=True)
async def metrics(request: web.Request) -> web.Response:
    """Answer in Prometheus' text format."""
    ctx = context(request)
    ctx.metrics.ready.set(ctx.not_ready() is None)
    return web.Response(body=ctx.metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def add(app: web.Application) -> None:
    """Add the three routes."""
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
