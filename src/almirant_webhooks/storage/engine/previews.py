"""What a preview asks of an engine, and what it is told."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Protocol, TypedDict

from .sessions import Session


class TakenEvent(TypedDict):
    """An event with its own body, for a preview."""

    event_id: str
    event_type: str
    created_at: str
    body: str


class TakenEvents(NamedTuple):
    """Rows of events, newest first; `before` is where to go on, None at the end; the time is of the last that was looked at."""

    seqs: list[int]
    before: int | None
    looked_back_to: str | None


class Previews(Protocol):
    """Events that were taken, as a preview looks at them; called on a session that reads."""

    def newest(
        self, session: Session, project_id: str, patterns: Collection[str], before: int | None, limit: int, /
    ) -> TakenEvents:
        """Return where the newest events of a project are whose types match, `limit` at most, in bounded time."""

    def event(self, session: Session, seq: int, /) -> TakenEvent:
        """Return one of them with its own body."""
