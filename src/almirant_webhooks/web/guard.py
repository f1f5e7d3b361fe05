"""What every request passes: host names, who is asking, where the request comes from, and headers of answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import quote

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from ..rules import principals
from ..rules.principals import Principal, Role
from ..rules.texts import Text
from ..storage.engine import SessionRow
from . import framing, sessions
from .address import host_is_ours, is_address, is_same_origin, prefix_location
from .context import PRINCIPAL, Context, context
from .limits import Failures

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
H = TypeVar("H", bound=Handler)

SIGN_IN = "/sign-in"
_READ_ONLY = Text("You came by a link that lets you look and change nothing. Ask for one that lets you change things.")
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


def allow(*roles: Role, writes: bool = False, changes: bool = False, knows_nobody: bool = False) -> Callable[[H], H]:
    """Say who may use a handler; without a role it is open to all. An application without this on each route does not start.

    `writes` marks a GET that leaves something behind: other sites cannot send anybody there. `changes` marks a GET that
    leads to a change alone, which who may change nothing has no use for. `knows_nobody` is for what is the same for all.
    """

    def mark(handler: H) -> H:
        handler.allowed = frozenset(roles)  # type: ignore[attr-defined]
        handler.writes = writes  # type: ignore[attr-defined]
        handler.changes = changes  # type: ignore[attr-defined]
        handler.knows_nobody = knows_nobody  # type: ignore[attr-defined]
        return handler

    return mark


def allowed_by(handler: object) -> frozenset[Role] | None:
    """Return the roles that a handler is for, or None where nobody has said."""
    roles: frozenset[Role] | None = getattr(handler, "allowed", None)
    return roles


def is_same_for_all(handler: object) -> bool:
    """Return whether a handler answers whoever asks with the same: health, files, descriptions."""
    return bool(getattr(handler, "knows_nobody", False))


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
    response.headers.setdefault("Cache-Control", "no-store")
    if response.status == HTTPStatus.NOT_MODIFIED:
        return  # it shows nothing, and the page that asks has them already
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if origins := framing.ancestors(request):
        policy = response.headers["Content-Security-Policy"]
        response.headers["Content-Security-Policy"] = policy.replace(
            "ancestors 'none'", f"ancestors {' '.join(origins)}"
        )
        response.headers.pop("X-Frame-Options", None)  # it can name no origin


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse names that lead here by somebody else's DNS (rebinding); health and metrics are open."""
    open_to_all = allowed_by(request.match_info.handler) == OPEN and request.path in ("/healthz", "/readyz", "/metrics")
    if not open_to_all and not host_is_ours(request.host, context(request)):
        raise web.HTTPMisdirectedRequest(
            text=Text(
                "This address is not known here. Open the pages where you were told that they are, or ask who runs the service."
            )
            if not request.path.startswith("/api/")
            else "This address is not known here. Use that of admin.listen, set admin.public_url, or add its name to admin.hosts."
        )
    return await handler(request)


def identify(failures: Failures) -> Middleware:
    """Make the middleware that finds out who is asking and whether the route is theirs."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = request.match_info.handler
        roles, token = allowed_by(route), _bearer(request)
        row = None
        if token is None and not is_same_for_all(route):
            row = await sessions.row_of(request)
        who = await authenticate(request, token, failures) if token is not None else sessions.caller_of(request, row)
        request[PRINCIPAL] = who
        changes = request.method not in _SAFE or getattr(route, "writes", False)
        # The cookie of a frame is sent with requests of other sites too.
        unsaid = not framing.cookie_of(request)
        if token is None and changes and not is_same_origin(request, unsaid=unsaid):
            raise web.HTTPForbidden(text=Text("This request comes from another site and was refused."))
        if roles and who is None:
            return await _ask_who(request, row)
        if roles and who is not None:
            await context(request).belongs_to(who.project_id)
            if who.role not in roles:
                raise web.HTTPForbidden(text=f"This is not for a {who.role.value}.")
            if who.read_only and (changes or getattr(route, "changes", False)):
                raise web.HTTPForbidden(text=_READ_ONLY)
            await sessions.renew(request, who)
        return await handler(request)

    return check


async def _ask_who(request: web.Request, row: SessionRow | None) -> web.StreamResponse:
    """Ask somebody without a session who they are; `row` is the one that is over. What a form sent is kept for them."""
    if request.path.startswith("/api/"):
        raise web.HTTPUnauthorized(
            text="Give the operator's token (`almirant-webhooks token`), or one of the project, as `Authorization: Bearer …`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if request.method in _SAFE:
        raise web.HTTPSeeOther(f"{SIGN_IN}?next={quote(request.path_qs, safe='')}")
    ask_again = context(request).ask_again
    assert ask_again is not None
    return await ask_again(request, row)


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
                text=Text("Too many wrong tokens came; wait a minute."), headers={"Retry-After": str(wait)}
            )
        who = await _principal_of(ctx, token)
        if who is None:
            failures.note(address, now)
            raise web.HTTPUnauthorized(
                text=Text("This token is not known here."), headers={"WWW-Authenticate": "Bearer"}
            )
        failures.proven.add(digest)
    return who


def _caller(request: web.Request) -> str:
    """Return the address that wrong tokens are counted by: behind a proxy on this machine, the one that the proxy saw."""
    remote = request.remote or ""
    behind_proxy = context(request).settings.admin.public_url and is_address(remote) and ip_address(remote).is_loopback
    seen = request.headers.getall("X-Forwarded-For", [""])[-1].rpartition(",")[2].strip()
    return seen if behind_proxy and is_address(seen) else remote


async def _principal_of(ctx: Context, token: str) -> Principal | None:
    if ctx.keys.is_token(token):
        return Principal(Role.OPERATOR)
    digest = principals.digest(token)
    producer = await ctx.read(ctx.reading.tokens.find, digest)
    owner = await ctx.read(ctx.reading.project_tokens.find, digest) if producer is None else None
    await ctx.end_reading()
    if producer is not None:
        return Principal(Role.PRODUCER, producer.project_id, token_id=producer.id)
    if owner is None:
        return None
    return Principal(Role.PROJECT_ADMIN, owner.project_id, name=f"{owner.name} (API token)", token_id=owner.id)


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
