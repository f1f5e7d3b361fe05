"""Where requests may go: the rules of a URL when it is saved, and of an address when it is dialled (contract, section 5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import quote, urlsplit

import idna

from ..model import LocalUrl, Refused
from . import addresses
from .texts import Text

MAX_URL = 2048
BLOCKED = Text("the address is not allowed")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)")


class Blocked(OSError):
    """Raised instead of dialling a forbidden address. The message never says which address it was."""

    def __init__(self) -> None:
        super().__init__(BLOCKED)


@dataclass(frozen=True)
class Policy:
    """What an operator allows beyond public addresses. `closed` holds (address, port) pairs that stay closed."""

    allow_localhost: bool = False
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    closed: frozenset[tuple[str, int]] = frozenset()


def is_allowed(address: str, port: int, policy: Policy) -> bool:
    """Return whether an address may be dialled."""
    parsed = addresses.parse(address)
    if parsed is None or _is_closed(parsed, port, policy):
        return False
    inner = addresses.inner(parsed)
    if any(ip in network for ip in (parsed, inner) for network in policy.allowed_networks):
        return True
    if addresses.is_loopback(parsed):
        return policy.allow_localhost
    return addresses.is_public(parsed)


def _is_closed(address: IPv4Address | IPv6Address, port: int, policy: Policy) -> bool:
    inner = addresses.inner(address)
    for host, closed_port in policy.closed:
        closed = addresses.parse(host)
        if port != closed_port or closed is None:
            continue
        # A wildcard address stands for every address of this machine.
        if int(closed) == 0 or inner == addresses.inner(closed) or (inner == IPv4Address(0) or int(inner) == 0):
            return True
    return False


def is_name_allowed(host: str, port: int, policy: Policy) -> bool:
    """Return whether a proxy may be asked for a host: a literal by its address, a name unless it stands for this machine.

    What another name leads to is the proxy's to judge.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return policy.allow_localhost and all(is_allowed(local, port, policy) for local in ("127.0.0.1", "::1"))
    return addresses.parse(host) is None or is_allowed(host, port, policy)


def is_local_url(url: str) -> bool:
    """Return whether a stored URL is `http://`, for which each attempt needs development mode."""
    return url.startswith("http://")


def check_url(text: str, policy: Policy) -> str:
    """Return the normalised URL, which is stored and used, or raise `Refused` with a sentence."""

    def refuse(reason: str, kind: type[Refused] = Refused) -> Refused:
        return kind(Text("This URL cannot be used: {reason}.", reason=reason), "url")

    if len(text) > MAX_URL:
        raise refuse(Text("it is longer than {max_url} characters", max_url=MAX_URL))
    if any(ord(char) <= 32 or 127 <= ord(char) < 160 or char.isspace() for char in text):
        raise refuse(Text("it contains a space or a control character"))
    if "\\" in text:
        raise refuse(Text("it contains a backslash"))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise refuse(_unreadable(str(error))) from None
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        raise refuse(Text("it must begin with https://"))
    if "@" in parts.netloc:
        raise refuse(Text("it contains a user or password"))
    if "#" in text:
        raise refuse(Text("it contains a fragment (#…), which is never sent"))
    if not parts.hostname:
        raise refuse(Text("it names no host"))
    if port == 0 or parts.netloc.endswith(":"):
        raise refuse(Text("its port is not a number from 1 to 65535"))
    host = _check_host(parts.hostname, bracketed="[" in parts.netloc, refuse_with=refuse)
    literal = addresses.parse(host.strip("[]"))
    default = {"https": 443, "http": 80}[scheme]
    local = (
        host == "localhost" or host.endswith(".localhost") or (literal is not None and addresses.is_loopback(literal))
    )
    # Over http a name below localhost is never allowed.
    is_never = scheme == "http" and host.endswith(".localhost")
    kind = Refused if policy.allow_localhost or is_never else LocalUrl
    if scheme == "http" and not (local and not host.endswith(".localhost") and policy.allow_localhost):
        if not local:
            raise refuse(Text("it must begin with https://"))
        words = Text("http:// is for localhost in development alone, where the service allows it; use https://")
        raise refuse(words, kind)
    if local and not policy.allow_localhost and not _network_allows(literal, policy):
        raise refuse(Text("{blocked}; requests go to public addresses alone", blocked=BLOCKED), kind)
    if literal is not None and not is_allowed(str(literal), port or default, policy):
        raise refuse(Text("{blocked}; requests go to public addresses alone", blocked=BLOCKED))
    shown = f"{host}:{port}" if port is not None and port != default else host
    path = quote(parts.path or "/", safe="/:@!$&'()*+,;=-._~%[]")
    query = "?" + quote(parts.query, safe="/?:@!$&'()*+,;=-._~%[]") if parts.query else ""
    url = f"{scheme}://{shown}{path}{query}"
    if len(url) > MAX_URL:
        raise refuse(Text("it is longer than {max_url} characters once it is encoded", max_url=MAX_URL))
    return url


def _unreadable(error: str) -> Text:
    """Return in words why the standard library cannot split a URL."""
    if "Port" in error or "port" in error:
        return Text("its port is not a number from 1 to 65535")
    if "NFKC" in error:
        return Text("its host contains characters that can be taken for '/', '?', '#', '@' or ':'")
    return Text("its IPv6 address cannot be read")


def _network_allows(literal: IPv4Address | IPv6Address | None, policy: Policy) -> bool:
    return literal is not None and any(literal in network for network in policy.allowed_networks)


def _check_host(hostname: str, *, bracketed: bool, refuse_with: Callable[[str], Refused]) -> str:
    """Return a host in lower-case ASCII, an IPv6 literal in brackets."""
    if bracketed or ":" in hostname:
        parsed = addresses.parse(hostname)
        if not isinstance(parsed, IPv6Address) or "%" in hostname:
            raise refuse_with(Text("its IPv6 address cannot be read"))
        return f"[{parsed}]"
    host = hostname.lower().removesuffix(".")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise refuse_with(Text("its host is not a valid international domain name")) from None
    labels = host.split(".")
    if "%" in host:
        raise refuse_with(Text("its host contains a percent sign"))
    if "" in labels:
        raise refuse_with(Text("its host has a dot too many"))
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise refuse_with(Text("its host is not a domain name or an IP address"))
    if _NUMBER.fullmatch(labels[-1]):
        parsed = addresses.parse(host)
        if parsed is None:
            raise refuse_with(Text("its IPv4 address must be written as four decimal numbers"))
        return str(parsed)
    return host
