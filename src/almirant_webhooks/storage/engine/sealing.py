"""What people and commands ask of what is sealed in the database."""

from __future__ import annotations

from typing import Protocol

from .sessions import Session
from .values import Resealed


class SealedValues(Protocol):
    """What is sealed in the database; a session knows the keys."""

    def check(self, session: Session, /) -> None:
        """Raise `Misconfigured` unless the key is that of this database."""

    def is_key_new(self, session: Session, /) -> bool:
        """Tell whether the last key of the file is another one than that of the last time that all was sealed."""

    def reseal(self, session: Session, after: str, limit: int, /) -> Resealed:
        """Store what is secret of the next webhooks after an id as it is stored now: with the newest key, or plain."""

    def finish(self, session: Session, /) -> None:
        """Note that all is stored so."""


class SealedReads(Protocol):
    """What is sealed in the database; a session knows the keys."""

    def why_not_opened(self, session: Session, webhook_id: str, /) -> str | None:
        """Return why something of a webhook cannot be opened, None where all of it can; raises `Misconfigured` without a key."""

    def unopenable(self, session: Session, /) -> tuple[int, dict[str, str]]:
        """Open everything; return the number of webhooks, and why those that cannot be opened cannot.

        Raises `Misconfigured` without the key of this database.
        """

    def is_plain_left(self, session: Session, /) -> bool:
        """Tell whether bytes of plain secrets may be left of before."""

    def plain_values(self, session: Session, /) -> int:
        """Return how many secrets and header values are not sealed."""
