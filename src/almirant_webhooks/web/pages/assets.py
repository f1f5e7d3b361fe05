"""The style, the script and the icon, served under names that change with their content."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from aiohttp import web

from ..guard import allow

_TYPES = {"app.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}


@cache
def _content(name: str) -> bytes:
    return (files("almirant_webhooks.web") / "static" / name).read_bytes()


@cache
def asset(name: str) -> str:
    """Return the path of a file with a mark of its content, so that browsers keep it and notice a new one."""
    return f"/static/{name}?v={hashlib.sha256(_content(name)).hexdigest()[:10]}"


@allow()
async def static(request: web.Request) -> web.Response:
    """Answer with one of the three files."""
    name = request.match_info["name"]
    if name not in _TYPES:
        raise web.HTTPNotFound(text="There is no such file.")
    cache_control = "public, max-age=31536000, immutable" if request.query.get("v") else "no-cache"
    return web.Response(
        body=_content(name), content_type=_TYPES[name], charset="utf-8", headers={"Cache-Control": cache_control}
    )


def add(app: web.Application) -> None:
    """Add the route."""
    app.router.add_get("/static/{name}", static)
