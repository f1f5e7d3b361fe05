"""The look of the application that links to the pages: its colours as a style sheet, and its logo."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from aiohttp import web

from ...rules import colours
from ...rules.texts import Text
from ...settings.look import LOGOS
from ..context import context
from ..guard import allow

# The logo may be anybody's drawing: alone in a window it is a picture and nothing more.
_PICTURE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cache-Control": "no-cache",
}


def style(accent: str) -> str:
    """Return the rules that give the pages an accent colour, in both schemes."""
    light = f":root {{ --blue: {accent}; --on-blue: {_on(accent)}; }}"
    dark = colours.on_dark(accent)
    return f"{light}\n@media (prefers-color-scheme: dark) {{ :root {{ --blue: {dark}; --on-blue: {_on(dark)}; }} }}\n"


def _on(colour: str) -> str:
    return max(("#ffffff", "#0c1a2c"), key=lambda text: colours.contrast(colour, text))


@cache
def _content(path: str) -> bytes:
    """Return a picture, read once; nothing where there is none any more."""
    try:
        return Path(path).read_bytes() if path else b""
    except OSError:
        return b""


@allow(knows_nobody=True)
async def theme(request: web.Request) -> web.Response:
    """Answer with the colours; 404 where the service's own are used."""
    accent = context(request).settings.pages.accent
    if not accent:
        raise web.HTTPNotFound(text=Text("There is no such file."))
    return web.Response(
        text=style(accent), content_type="text/css", charset="utf-8", headers={"Cache-Control": "no-cache"}
    )


@allow(knows_nobody=True)
async def logo(request: web.Request) -> web.Response:
    """Answer with the logo; 404 where there is none."""
    path = context(request).settings.pages.logo
    content = _content(path)
    if not content:
        raise web.HTTPNotFound(text=Text("There is no such file."))
    return web.Response(body=content, content_type=LOGOS[Path(path).suffix.lower()], headers=_PICTURE)


def add(app: web.Application) -> None:
    """Add the routes."""
    app.add_routes([web.get("/look/theme.css", theme), web.get("/look/logo", logo)])
