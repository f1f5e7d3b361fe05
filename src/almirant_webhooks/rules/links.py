"""Portal links: signed texts that open the pages of one project once, and what they may lead to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import unicodedata
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..model import Refused

MAX_ACTOR = 100
MAX_NEXT = 2000
# Pages of a project. A link leads to no other path, and so to no other link.
_NEXT = re.compile(
    r"/(?:webhooks|deliveries|resends|events|event-types|rejected|activity|audit|tokens)(?:/[\w.~%:-]+)*(?:[?#][!-~]*)?",
    re.ASCII,
)


class PortalLink(NamedTuple):
    """What a link says: whose pages it opens and until when (Unix seconds), for whom, and where it leads.

    `actor` is the name of the person in the audit trail; empty where the link is for nobody in particular. `next` is a path
    of the pages, empty for their front. `read_only` begins a session that may look and change nothing.
    """

    project_id: str
    expires_at: int
    actor: str = ""
    read_only: bool = False
    next: str = ""


def issue(key: bytes, link: PortalLink) -> str:
    """Return a link as a signed text for a URL. A nonce makes each one different, since each is used once."""
    content = _encode(json.dumps([*link, secrets.token_urlsafe(9)], separators=(",", ":")).encode())
    return f"{content}.{_mac(key, content)}"


def url(key: bytes, link: PortalLink, address: str) -> str:
    """Return the URL of a link to the pages at `address`."""
    return f"{address}/portal/{issue(key, link)}"


def read(key: bytes, text: str, now: float) -> PortalLink | None:
    """Return what a link says, or None if it was changed or has expired. `now` is in Unix seconds."""
    content, _, signature = text.partition(".")
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), _mac(key, content).encode()):
        return None
    try:
        fields: list[Any] = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
        link = PortalLink(*fields[:-1])
    except (binascii.Error, ValueError, TypeError):  # of an earlier version
        return None
    return link if link.expires_at > now else None


def cookie(key: bytes, text: str, press: str) -> str:
    """Return the cookie of the session that a link begins at a press of its button: one that is sent again has the same."""
    return _mac(key, f"cookie.{press}.{text}")


def check_actor(text: str) -> str:
    """Return the name of the person that a link is for, or raise `Refused`: one line that shows what it is."""
    name = text.strip()
    if not 1 <= len(name) <= MAX_ACTOR or any(unicodedata.category(char)[0] == "C" for char in name):
        raise Refused(f"actor: a name is 1 to {MAX_ACTOR} characters that can be seen, on one line.", "actor")
    return name


def check_next(text: str) -> str:
    """Return the path that a link leads to, which is one of a project's pages, or raise `Refused`."""
    path = text.partition("?")[0].partition("#")[0]
    if len(text) > MAX_NEXT or not _NEXT.fullmatch(text) or not {".", ".."}.isdisjoint(unquote(path).split("/")):
        raise Refused(
            "next: a link leads to a page of its project, as /deliveries/dlv_… or /webhooks/wh_…/deliveries?state=failed; "
            f"write its path without the host, {MAX_NEXT:,} characters at most.",
            "next",
        )
    return text


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(key: bytes, content: str) -> str:
    return _encode(hmac.digest(key, f"link.{content}".encode("utf-8", "replace"), hashlib.sha256))
