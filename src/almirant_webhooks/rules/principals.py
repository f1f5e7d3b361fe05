"""Principals, who may use the service, and the signed tokens that carry them: links to a project and browser sessions."""

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
    """An authenticated caller. `project_id` is the only project they reach; None means all.

    `expires_at` is in Unix seconds. `session` is the digest of a browser's session token. `name` is for the audit trail,
    and is empty if the role says enough.
    """

    role: Role
    project_id: str | None = None
    expires_at: int | None = None
    session: str | None = None
    name: str = ""

    @property
    def actor(self) -> str:
        """The name in the audit trail."""
        if self.name:
            return self.name
        return OPERATOR if self.role is Role.OPERATOR else f"link to {self.project_id}"

    def reaches(self, project_id: str) -> bool:
        """Return whether they may see what belongs to a project."""
        return self.project_id in (None, project_id)


def issue(key: bytes, purpose: str, principal: Principal) -> str:
    """Return a signed token for a principal, which must have `expires_at`. URLs and cookies can carry it.

    A nonce makes each token unique: two people who sign in within a second have a session each.
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
    """Return the URL that opens the pages at `address` for a principal, until it expires."""
    return f"{address}/portal/{issue(key, LINK, principal)}"


def read(key: bytes, purpose: str, text: str, now: float) -> Principal | None:
    """Return the principal of a signed token, or None if it was changed, has expired, or is for another purpose.

    `now` is in Unix seconds.
    """
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
    """Return the SHA-256 of a token in hex, which is what is stored. Tokens are long and random, so no salt is needed."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def is_equal(actual: str, expected: str) -> bool:
    """Return whether two tokens are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(digest(actual), digest(expected))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(key: bytes, purpose: str, content: str) -> str:
    return _encode(hmac.digest(key, f"{purpose}.{content}".encode("utf-8", "replace"), hashlib.sha256))
