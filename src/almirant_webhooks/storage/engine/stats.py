"""How the service stands, in numbers."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, TypedDict

from .sessions import Session


class Pending(TypedDict):
    """How many deliveries are due, wait for a later time, and are held; and since when the oldest has been due."""

    due: int
    scheduled: int
    held: int
    oldest_due_seconds: float


class OutboxFigures(TypedDict):
    """How many rows of the outbox are unread and rejected, 1,000 at most of each, and how old the first unread one is."""

    unread: int
    rejected: int
    oldest_unread_seconds: float


class Stats(Protocol):
    """How the service stands, in numbers."""

    def pending(self, session: Session, now: datetime, /) -> Pending:
        """Count what waits, and tell for how long the oldest has been due."""

    def webhooks(self, session: Session, /) -> dict[str, int]:
        """Count webhooks by what they are: `enabled`, `disabled`, and `failing` among the enabled."""

    def hours(self, session: Session, since: datetime, /) -> dict[str, int]:
        """Add up the attempts since the hour of a time: `succeeded`, `failed`, `mean_ms`, `longest_ms`."""

    def outbox(self, session: Session, now: datetime, /) -> OutboxFigures:
        """Count the rows that wait and those that are rejected, on a session of the outbox."""
