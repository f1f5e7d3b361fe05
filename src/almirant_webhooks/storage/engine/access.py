"""What an engine keeps of who comes in: the API tokens of projects, sessions of browsers, and links that were used.

Functions that write are called in a write transaction, so that each is atomic with its entry in the audit trail.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypedDict

from .sessions import Session

KEYS_KEPT = timedelta(hours=24)  # how long what a request with a key has done is remembered
MOST_TOKENS = 100  # API tokens of a project


class Producer(NamedTuple):
    """A producer's token, by which it is known; `project_id` None is every project."""

    id: str
    project_id: str | None


class ProducerToken(TypedDict):
    """A producer's token in a list."""

    id: str
    project_id: str | None
    created_at: str


class TokenOwner(NamedTuple):
    """Whose an API token of a project is."""

    id: str
    project_id: str
    name: str


class ProjectToken(TypedDict):
    """An API token of a project in a list; never the token itself."""

    id: str
    project_id: str
    name: str
    created_at: str
    created_by: str


class ProjectTokens(Protocol):
    """API tokens of projects, as they are made and revoked."""

    def add(
        self, session: Session, /, *, digest: str, project_id: str, name: str | None, actor: str, now: datetime
    ) -> ProjectToken:
        """Store a new token's digest, by a name that no other one of the project has; without one it gets a name."""

    def get(self, session: Session, token_id: str, /) -> ProjectToken:
        """Return one."""

    def named(self, session: Session, project_id: str, name: str, /) -> ProjectToken:
        """Return the one of a project that has a name."""

    def revoke(self, session: Session, token_id: str, /, *, actor: str, now: datetime) -> None:
        """Remove one: from the commit on it opens nothing."""


class ProjectTokenReads(Protocol):
    """API tokens of projects, never the tokens themselves."""

    def find(self, session: Session, digest: str, /) -> TokenOwner | None:
        """Return whose token has a digest, or None."""

    def listed(self, session: Session, project_id: str | None, limit: int, after: str = "", /) -> list[ProjectToken]:
        """Return those of a project or of all by their ids, of those behind an id."""


class SessionRow(TypedDict):
    """A session of a browser; `project_id` None is the operator's. Times as text."""

    id: str
    key_digest: str
    role: str
    project_id: str | None
    actor: str
    read_only: bool
    created_at: str
    expires_at: str
    ends_at: str


class Sessions(Protocol):
    """Sessions of browsers, as they begin and end."""

    def start(self, session: Session, row: SessionRow, /, *, digest: str, replaces: str | None) -> None:
        """Store a new one, and end the one with the id `replaces` if it is there; `digest` is of its cookie."""

    def use_link(self, session: Session, digest: str, expires_at: str, /) -> None:
        """Note that a link was used; refused for one that was used before."""

    def renew(self, session: Session, session_id: str, expires_at: str, /) -> None:
        """Let one last longer, if it is there."""

    def end(self, session: Session, session_id: str, /) -> SessionRow:
        """End one: from the commit on its cookie opens nothing. Return what it was."""


class SessionReads(Protocol):
    """Sessions of browsers."""

    def find(self, session: Session, digest: str, /) -> SessionRow | None:
        """Return the one with a cookie's digest, also one that has expired lately, or None."""

    def is_link_used(self, session: Session, digest: str, /) -> bool:
        """Tell whether a link was used."""

    def under_way(self, session: Session, key_digest: str, now: str, limit: int, /) -> list[SessionRow]:
        """Return those that have not expired, the newest first."""


class KeyedRow(NamedTuple):
    """Something that a request with a key has done: `number` 0 is its answer, n what its nth transaction returned.

    `content` is JSON, None where it cannot be opened any more.
    """

    number: int
    request_digest: str
    content: str | None


class StoredOperatorKeys(Protocol):
    """The operator's token and the key of links, where they are in the database."""

    def rotate(self, session: Session, /) -> str:
        """Put new ones in place of the old, inside a transaction; return the token, of which a digest alone is kept."""

    def reseal(self, session: Session, /) -> None:
        """Seal the key with the newest key of secrets, inside a transaction."""

    def read(self, session: Session, /) -> tuple[str, str]:
        """Return the token's digest and the key, both in hexadecimal."""


class RequestKeyReads(Protocol):
    """What requests with a key of their own have done."""

    def find(self, session: Session, owner: str, key_digest: str, since: datetime, /) -> list[KeyedRow]:
        """Return what was noted since a time, by its number."""


class RequestKeys(RequestKeyReads, Protocol):
    """What requests with a key of their own have done, as it is noted."""

    def note(self, session: Session, owner: str, key_digest: str, row: KeyedRow, now: datetime, /) -> None:
        """Note one thing, sealed; refused where another request has noted it meanwhile."""

    def take(self, session: Session, owner: str, key_digest: str, since: datetime, /) -> list[KeyedRow]:
        """Return what was noted since a time, by its number, but for the answer; it is kept no longer."""

    def forget_older(self, session: Session, owner: str, newest: int, /) -> None:
        """Remove what an owner has beyond the newest so many, a hundred rows at most."""
