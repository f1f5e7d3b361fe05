"""The styles, the script and the icon, served under names that change with their content."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from aiohttp import web

from ...rules.languages import LANGUAGES
from ...rules.texts import Text
from ..guard import allow
from .languages import script

_TYPES = {
    "app.css": "text/css",
    "layout.css": "text/css",
    "app.js": "text/javascript",
    "live.js": "text/javascript",
    "times.js": "text/javascript",
    "session.js": "text/javascript",
    "texts.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def _language_of(name: str) -> str | None:
    """Return the language whose texts for the scripts a file has, None for a file of another kind."""
    return next((code for code in LANGUAGES if name == f"texts-{code}.js"), None)


@cache
def _content(name: str) -> bytes:
    if (code := _language_of(name)) is not None:
        return script(code).encode()
    return (files("almirant_webhooks.web") / "static" / name).read_bytes()


@cache
def asset(name: str) -> str:
    """Return the path of a file with a mark of its content, so that browsers keep it and notice a new one."""
    return f"/static/{name}?v={hashlib.sha256(_content(name)).hexdigest()[:10]}"


@allow(knows_nobody=True)
async def static(request: web.Request) -> web.Response:
    """Answer with one of these files."""
    name = request.match_info["name"]
    if name not in _TYPES and _language_of(name) is None:
        raise web.HTTPNotFound(text=Text("There is no such file."))
    cache_control = "public, max-age=31536000, immutable" if request.query.get("v") else "no-cache"
    return web.Response(
        body=_content(name),
        content_type=_TYPES.get(name, "text/javascript"),
        charset="utf-8",
        headers={"Cache-Control": cache_control},
    )


def add(app: web.Application) -> None:
    """Add the route."""
    app.router.add_get("/static/{name}", static)
