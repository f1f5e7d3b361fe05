"""Which language a reader gets: the one chosen at the foot of a page, else that of the settings, else the browser's."""

from __future__ import annotations

from aiohttp import hdrs, web

from ...rules.languages import LANGUAGES, preferred
from .. import framing
from ..address import base, is_secure
from ..context import context
from .languages import Language, language

COOKIE = "almirant_webhooks_language"
_LASTS = 400 * 24 * 60 * 60  # seconds: browsers keep no cookie for longer


def of(request: web.Request) -> Language:
    """Return the language that the sender of a request reads."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen not in LANGUAGES:
        chosen = context(request).settings.pages.language
    return language(chosen or preferred(request.headers.get(hdrs.ACCEPT_LANGUAGE, "")))


def add_cookie(request: web.Request, response: web.StreamResponse, code: str) -> None:
    """Let the browser remember a choice, for a frame apart from its own tabs."""
    path = base(request) or "/"
    if framing.is_framed(request):
        framing.set_cookie(response, code, path, _LASTS, name=COOKIE)
        return
    response.set_cookie(
        COOKIE, code, max_age=_LASTS, path=path, httponly=True, samesite="Lax", secure=is_secure(request)
    )
