"""Who may do what: principals, and the signed texts by which they come (links to a project, sessions of a browser)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..model import OPERATOR

LINK = "link"
SESSION = "session"


class Role(StrEnum):
    """The kind of a caller (contract, section 7)."""

    OPERATOR = "operator"
    PROJECT_ADMIN = "project admin"
    PRODUCER = "producer"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has shown who they are; `project_id` bounds what they reach, None is everything.

    `session` is the digest of the text by which a browser has shown it, and no other browser's. `name` is whom the audit
    trail names, where that is more than the role says.
    """

    role: Role
    project_id: str | None = None
    expires_at: int | None = None
    session: str | None = None
    name: str = ""

    @property
    def actor(self) -> str:
        """The name under which the audit trail knows them."""
        if self.name:
            return self.name
        return OPERATOR if self.role is Role.OPERATOR else f"link to {self.project_id}"

    def reaches(self, project_id: str) -> bool:
        """Tell whether what belongs to a project is theirs to see."""
        return self.project_id in (None, project_id)


def issue(key: bytes, purpose: str, principal: Principal) -> str:
    """Sign a principal as text that URLs and cookies can carry; it must say when it expires (Unix seconds).

    Two of them are never the same: two people who sign in within a second have a session each.
    """
    assert principal.expires_at is not None
    fields = {
        "role": principal.role.value,
        "project": principal.project_id,
        "expires": principal.expires_at,
        "nonce": secrets.token_urlsafe(9),
    }
    content = _encode(json.dumps(fields, separators=(",", ":")).encode())
    return f"{content}.{_mac(key, purpose, content)}"


def link(key: bytes, principal: Principal, address: str) -> str:
    """Return the URL that opens the pages at `address` for a project admin until it expires."""
    return f"{address}/portal/{issue(key, LINK, principal)}"


def read(key: bytes, purpose: str, text: str, now: float) -> Principal | None:
    """Return whom a signed text stands for, or None when it was changed, has expired, or is for another purpose."""
    content, _, signature = text.partition(".")
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), _mac(key, purpose, content).encode()):
        return None
    try:
        fields: dict[str, Any] = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
    except (binascii.Error, ValueError):
        return None
    if fields["expires"] <= now:
        return None
    return Principal(Role(fields["role"]), fields["project"], fields["expires"])


def digest(token: str) -> str:
    """Return what is kept of a token or a session's text, which are random and long: SHA-256 in hex."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def is_equal(actual: str, expected: str) -> bool:
    """Compare two tokens in a time that tells nothing about where they differ."""
    return hmac.compare_digest(digest(actual), digest(expected))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(key: bytes, purpose: str, content: str) -> str:
    return _encode(hmac.digest(key, f"{purpose}.{content}".encode("utf-8", "replace"), hashlib.sha256))
