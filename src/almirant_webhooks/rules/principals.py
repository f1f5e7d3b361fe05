"""Principals, who may use the service, how long a browser's session lasts, and what is kept of tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ..model import OPERATOR

SESSION_LASTS = timedelta(hours=4)  # from its last use on
SESSION_ENDS = timedelta(hours=24)  # whatever its use
RENEWED_EVERY = timedelta(minutes=5)  # a use within this time of the last renewal writes nothing


class Role(StrEnum):
    """The kind of a caller (contract, section 7)."""

    OPERATOR = "operator"
    PROJECT_ADMIN = "project admin"
    PRODUCER = "producer"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `project_id` is the only project they reach; None means all.

    `session` is the id of a browser's session, which ends at `expires_at` unless it is used, and at `ends_at` in any case.
    `name` is for the audit trail, and is empty if the role says enough. `token_id` is that of the token that
    they came by, if it is not the operator's; `read_only` says that they may look and change nothing.
    """

    role: Role
    project_id: str | None = None
    session: str | None = None
    expires_at: datetime | None = None
    ends_at: datetime | None = None
    name: str = ""
    token_id: str | None = None
    read_only: bool = False

    @property
    def actor(self) -> str:
        """The name in the audit trail."""
        if self.name:
            return self.name
        return OPERATOR if self.role is Role.OPERATOR else f"link to {self.project_id}"

    @property
    def id(self) -> str:
        """What tells them from every other caller: the id of their session or token, or the operator's token."""
        return self.session or self.token_id or self.role.value

    def reaches(self, project_id: str) -> bool:
        """Return whether they may see what belongs to a project."""
        return self.project_id in (None, project_id)


def named_by_link(actor: str) -> str:
    """Return how the audit trail names a person whom a link names: never as an operator or a user of the system."""
    return f"{actor} (link)" if actor else ""


def session_expires(now: datetime, ends_at: datetime) -> datetime:
    """Return when a session that is used now expires."""
    return min(now + SESSION_LASTS, ends_at)


def is_to_be_renewed(caller: Principal, now: datetime) -> bool:
    """Tell whether a use of a session makes it last noticeably longer."""
    if caller.expires_at is None or caller.ends_at is None:
        return False
    return session_expires(now, caller.ends_at) - caller.expires_at >= RENEWED_EVERY


def digest(token: str) -> str:
    """Return the SHA-256 of a token in hex, which is what is stored. Tokens are long and random, so no salt is needed."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def key_digest(signing_key: bytes) -> str:
    """Return what tells one signing key from another; a session ends with the key that was there when it began."""
    return hashlib.sha256(b"session." + signing_key).hexdigest()
