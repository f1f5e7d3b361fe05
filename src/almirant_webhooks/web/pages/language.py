"""Choose the language of the pages, at their foot."""

from __future__ import annotations

from aiohttp import web

from ...rules.languages import LANGUAGES
from ..guard import allow
from . import choosing
from .page import FRONT, local_path, read_form, redirect


@allow()
async def choose(request: web.Request) -> web.Response:
    """Remember the language in this browser, and show the page anew. What is no language of ours changes nothing."""
    form = await read_form(request)
    answer = redirect(local_path(form.get("back", ""), FRONT))
    code = str(form.get("language", ""))
    if code in LANGUAGES:
        choosing.add_cookie(request, answer, code)
    raise answer


def add(app: web.Application) -> None:
    """Add the route."""
    app.add_routes([web.post("/language", choose)])
