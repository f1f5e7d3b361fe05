"""The URL of the HTTP proxy that requests to receivers go through (`egress.proxy`; contract, section 5)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from ..model import MASK
from . import addresses

MAX_PROXY = 2048
EXAMPLE = "http://proxy.internal:3128"
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")


@dataclass(frozen=True)
class Proxy:
    """A proxy: where it listens, and the value of `Proxy-Authorization`, which is a secret (`""` for none)."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The proxy's URL with user and password masked."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{f'{MASK}@' if self.authorization else ''}{host}:{self.port}"


def parse_proxy(text: str) -> Proxy | None:
    """Return the proxy that a URL names, or None for an empty one.

    Raises `ValueError` with the reason. The reason never repeats the URL, which may hold a password.
    """
    text = text.strip()
    if not text:
        return None
    if len(text) > MAX_PROXY:
        raise ValueError(f"the URL is longer than {MAX_PROXY} characters")
    if any(char.isspace() or not char.isprintable() for char in text):
        raise ValueError("the URL holds a space or a control character; write it as %20 in a password")
    parts, port = _split(text)
    if parts.scheme != "http":
        raise ValueError(
            f"the URL must begin with http://, since the proxy is spoken to in plain HTTP; write {EXAMPLE}"
        )
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise ValueError(
            f"the URL has more than a host and a port; write {EXAMPLE}, and in a user or password %2F for /, %3F for ?, "
            "%23 for #"
        )
    host = (parts.hostname or "").lower()
    literal = addresses.parse(host) if ":" in host else None
    if "%" in host or (literal is None and (_NAME.fullmatch(host) is None or len(host) > 253)):
        raise ValueError(f"the URL names no host by name or address; write {EXAMPLE}")
    if not port:
        raise ValueError(f"the URL names no port from 1 to 65535; write {EXAMPLE}")
    return Proxy(host if literal is None else str(literal), port, _authorization(parts.username, parts.password))


def _split(text: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError:
        raise ValueError(f"the URL cannot be read; write {EXAMPLE}, and %5B for [ in a password") from None


def _authorization(user: str | None, password: str | None) -> str:
    if user is None:
        return ""
    try:
        name, word = (unquote(part or "", errors="strict") for part in (user, password))
    except UnicodeDecodeError:
        raise ValueError("the user or the password is not UTF-8 once %XX is decoded") from None
    if not name or ":" in name:
        raise ValueError("the user must not be empty or hold a colon")
    if not (name + word).isprintable():
        raise ValueError("the user or the password holds a control character")
    return "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()
