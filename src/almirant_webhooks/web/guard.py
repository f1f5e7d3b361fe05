"""What every request passes: host names, who is asking, where the request comes from, and headers of answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import quote

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from ..rules import principals
from ..rules.principals import Principal, Role
from .address import base, host_is_ours, is_address, is_same_origin, is_secure, prefix_location
from .context import PRINCIPAL, Context, context
from .limits import Failures

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
H = TypeVar("H", bound=Handler)

COOKIE = "almirant_webhooks"
SIGN_IN = "/sign-in"
OPERATOR_SESSION = 12 * 3600  # seconds
OPEN: frozenset[Role] = frozenset()
_SAFE = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS}
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: a browser then sends `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def allow(*roles: Role, writes: bool = False) -> Callable[[H], H]:
    """Say who may use a handler; without a role it is open to all. An application without this on each route does not start.

    `writes` marks a GET that leaves something behind: other sites cannot send anybody there.
    """

    def mark(handler: H) -> H:
        handler.allowed = frozenset(roles)  # type: ignore[attr-defined]
        handler.writes = writes  # type: ignore[attr-defined]
        return handler

    return mark


def allowed_by(handler: object) -> frozenset[Role] | None:
    """Return the roles that a handler is for, or None where nobody has said."""
    roles: frozenset[Role] | None = getattr(handler, "allowed", None)
    return roles


def start_session(request: web.Request, response: web.StreamResponse, who: Principal) -> None:
    """Sign somebody in: a cookie that ends when their link does, or after twelve hours."""
    ctx = context(request)
    expires_at = who.expires_at or int(time.time()) + OPERATOR_SESSION
    session = Principal(who.role, who.project_id, expires_at)
    response.set_cookie(
        COOKIE,
        principals.issue(ctx.keys.signing_key, principals.SESSION, session),
        max_age=max(0, expires_at - int(time.time())),
        path=base(request) or "/",
        httponly=True,
        samesite="Lax",
        secure=is_secure(request),
    )


def end_session(request: web.Request, response: web.StreamResponse) -> None:
    """Sign somebody out in this browser."""
    response.del_cookie(COOKIE, path=base(request) or "/")


@web.middleware
async def add_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every answer the headers that keep a browser from more than it should do, redirects too."""
    try:
        response = await handler(request)
    except web.HTTPException as redirect:
        _add_headers(request, redirect)
        raise
    _add_headers(request, response)
    return response


def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    prefix_location(request, response)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse names that lead here by somebody else's DNS (rebinding); health and metrics are open."""
    open_to_all = allowed_by(request.match_info.handler) == OPEN and request.path in ("/healthz", "/readyz", "/metrics")
    if not open_to_all and not host_is_ours(request.host, context(request)):
        raise web.HTTPMisdirectedRequest(
            text="This address is not known here. Use that of admin.listen, set admin.public_url, or add its name to admin.hosts."
        )
    return await handler(request)


def identify(failures: Failures) -> Middleware:
    """Make the middleware that finds out who is asking and whether the route is theirs."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        roles = allowed_by(request.match_info.handler)
        token = _bearer(request)
        who = await authenticate(request, token, failures) if token is not None else _of_session(request)
        request[PRINCIPAL] = who
        changes = request.method not in _SAFE or getattr(request.match_info.handler, "writes", False)
        if token is None and changes and not is_same_origin(request):
            raise web.HTTPForbidden(text="This request comes from another site and was refused.")
        if roles and who is None:
            if request.path.startswith("/api/"):
                raise web.HTTPUnauthorized(
                    text="Give the operator's token (`almirant-webhooks token`) as `Authorization: Bearer …`.",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            query = f"?next={quote(request.path_qs, safe='')}" if request.method == hdrs.METH_GET else ""
            raise web.HTTPSeeOther(SIGN_IN + query)
        if roles and who is not None and who.role not in roles:
            raise web.HTTPForbidden(text=f"This is not for a {who.role.value}.")
        return await handler(request)

    return check


async def authenticate(request: web.Request, token: str, failures: Failures) -> Principal:
    """Return whose token it is; raises 401 for a wrong one, 429 after too many of them.

    A token that was good before is looked at however many wrong ones have come.
    """
    ctx, digest = context(request), principals.digest(token)
    if digest in failures.proven and (who := await _principal_of(ctx, token)) is not None:
        return who
    async with failures.one_by_one:
        now, address = time.monotonic(), _caller(request)
        if (wait := failures.wait(address, now)) > 0:
            raise web.HTTPTooManyRequests(
                text="Too many wrong tokens came; wait a minute.", headers={"Retry-After": str(wait)}
            )
        who = await _principal_of(ctx, token)
        if who is None:
            failures.note(address, now)
            raise web.HTTPUnauthorized(text="This token is not known here.", headers={"WWW-Authenticate": "Bearer"})
        failures.proven.add(digest)
    return who


def _caller(request: web.Request) -> str:
    """Return the address that wrong tokens are counted by: behind a proxy on this machine, the one that the proxy saw."""
    remote = request.remote or ""
    behind_proxy = context(request).settings.admin.public_url and is_address(remote) and ip_address(remote).is_loopback
    seen = request.headers.getall("X-Forwarded-For", [""])[-1].rpartition(",")[2].strip()
    return seen if behind_proxy and is_address(seen) else remote


async def _principal_of(ctx: Context, token: str) -> Principal | None:
    if principals.is_equal(token, ctx.keys.token):
        return Principal(Role.OPERATOR)
    producer = await ctx.read(ctx.reading.tokens.find, principals.digest(token))
    await ctx.end_reading()
    return None if producer is None else Principal(Role.PRODUCER, producer.project_id)


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _of_session(request: web.Request) -> Principal | None:
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    who = principals.read(context(request).keys.signing_key, principals.SESSION, cookie, time.time())
    return who and replace(who, session=principals.digest(cookie))
