"""Where a request was sent to: whether that is a name of ours, whether it came from our own pages, and below which path."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from ..settings.schema import Admin
from .context import Context, context

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/?#@\[\]\\]+))(?::([0-9]{1,5})?)?")
_PORTS = {"https": 443, "http": 80}
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}
# The links of our own pages: values of others stand in them with their quotes escaped.
_LINK = re.compile(r'(?<=\s)(href|action|formaction|src)="(?=/(?!/))')


class Host(NamedTuple):
    """A name in lower case, and the port if one is said."""

    name: str
    port: int | None


def read_host(text: str) -> Host | None:
    """Read a `Host` header, or what an origin has behind its scheme; None for what is neither."""
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    return Host((match[1] or match[2]).lower(), int(match[3]) if match[3] else None)


def is_public(host: Host, admin: Admin) -> bool:
    """Tell whether a host is that of `admin.public_url`, whose scheme's own port may be said or left out."""
    if not admin.public_url:
        return False
    public = urlsplit(admin.public_url)
    default = _PORTS[public.scheme]
    return (host.name, host.port or default) == (public.hostname, public.port or default)


def host_is_ours(text: str, ctx: Context) -> bool:
    """Tell whether a `Host` header names `admin.listen`, `admin.public_url` or one of `admin.hosts`."""
    host, admin, bound = read_host(text), ctx.settings.admin, ctx.address()
    if host is None:
        return False
    if is_public(host, admin) or host.name in admin.hosts:
        return True
    if bound is None or (host.port or _PORTS["http"]) != bound[1]:
        return False
    listen = (admin.listen or bound)[0].lower()
    if host.name == listen or (host.name in _LOOPBACK_NAMES and (listen in _LOOPBACK_NAMES or _is_wildcard(listen))):
        return True
    return _is_wildcard(listen) and is_address(host.name)


def is_address(name: str) -> bool:
    """Tell whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_wildcard(name: str) -> bool:
    return is_address(name) and int(ip_address(name)) == 0


def is_same_origin(request: web.Request, *, unsaid: bool = True) -> bool:
    """Follow `Sec-Fetch-Site` where a browser sends it, else `Origin` against `Host`; `unsaid` counts where there is neither.

    Programs send neither.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return unsaid
    scheme, _, rest = origin.lower().partition("://")
    sender, host = read_host(rest), read_host(request.host)
    if sender is None or host is None or scheme not in _PORTS:
        return False
    default = _PORTS[scheme]
    return (sender.name, sender.port or default) == (host.name, host.port or default)


def is_secure(request: web.Request) -> bool:
    """Tell whether a cookie is for TLS alone: with an `https://` address, but at the names of `admin.hosts`."""
    admin, host = context(request).settings.admin, read_host(request.host)
    is_other = host is not None and host.name in admin.hosts and not is_public(host, admin)
    return admin.public_url.startswith("https:") and not is_other


def base(request: web.Request) -> str:
    """Return the path below which the sender sees us, `/webhooks` say, or an empty text.

    It is that of `admin.public_url` for requests to its host; the server in front takes it away from what it passes on.
    """
    admin, host = context(request).settings.admin, read_host(request.host)
    return urlsplit(admin.public_url).path if host is not None and is_public(host, admin) else ""


def prefix_links(base: str, page: str) -> str:
    """Return a page of ours with its links as they are below a path."""
    return _LINK.sub(rf'\1="{base}', page) if base else page


def prefix_location(request: web.Request, response: web.StreamResponse) -> None:
    """Let an answer that leads elsewhere on this site lead there as the sender sees it."""
    place = response.headers.get(hdrs.LOCATION, "")
    if place.startswith("/") and not place.startswith("//") and (path := base(request)):
        response.headers[hdrs.LOCATION] = path + place
