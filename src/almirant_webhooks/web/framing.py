"""Pages in a frame of another site that `pages.frame_ancestors` names: what is shown there, and the cookie of a session there."""

from __future__ import annotations

from aiohttp import web

from ..rules.principals import Principal
from .context import PRINCIPAL, context

FRAME_COOKIE = "almirant_webhooks_frame"
_FOR_ALL = web.RequestKey("may be framed", bool)


def is_framed(request: web.Request) -> bool:
    """Tell whether a browser asks for a page to show it in a frame, and pages may be framed at all."""
    return _are_allowed(request) and request.headers.get("Sec-Fetch-Dest") in ("iframe", "frame")


def allow_for_all(request: web.Request) -> None:
    """Let the answer be framed although nobody is signed in: it has nothing but what was sent with the request, and begins nothing by itself."""
    request[_FOR_ALL] = True


def ancestors(request: web.Request) -> tuple[str, ...]:
    """Return the origins that may frame the answer: those of the settings for a project's session, none for an operator's."""
    caller: Principal | None = request.get(PRINCIPAL)
    if caller is None:
        return context(request).settings.pages.frame_ancestors if request.get(_FOR_ALL) else ()
    if caller.project_id is None or caller.session is None:
        return ()
    return context(request).settings.pages.frame_ancestors


def cookie_of(request: web.Request) -> str:
    """Return the cookie of a session that was begun in a frame, empty for none."""
    return request.cookies.get(FRAME_COOKIE, "") if _are_allowed(request) else ""


def set_cookie(response: web.StreamResponse, cookie: str, path: str, max_age: int, *, name: str = FRAME_COOKIE) -> None:
    """Give a frame a cookie, that of a session if no other name is given: it is kept for this site around it alone, and sent over TLS or loopback alone."""
    # Morsel has no `Partitioned` before Python 3.14.
    response.headers.add(
        "Set-Cookie",
        f"{name}={cookie}; Max-Age={max_age}; Path={path}; HttpOnly; Secure; SameSite=None; Partitioned",
    )


def _are_allowed(request: web.Request) -> bool:
    return bool(context(request).settings.pages.frame_ancestors)
