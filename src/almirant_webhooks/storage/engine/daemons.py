"""What there is to read of the daemons on a database."""

from __future__ import annotations

from typing import Protocol

from ..records import Daemon
from .sessions import Session


class DaemonReads(Protocol):
    """The daemons that share the projects."""

    def listed(self, session: Session, /) -> list[Daemon]:
        """Return those that are alive, the one that is there longest first; none of an engine with a single daemon."""

    def without_key(self, session: Session, key_id: str, /) -> list[str]:
        """Return the names of those that are alive and have not read the key of this id."""
