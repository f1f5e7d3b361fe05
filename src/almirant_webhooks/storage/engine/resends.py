"""Resends of many deliveries, as actions begin, follow and cancel them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from ...rules.selection import Selection
from ..records import Resend
from .sessions import Session
from .values import CountedPart, CountPlace


class Resends(Protocol):
    """Resends of many deliveries; `ResendingStore` takes their steps."""

    def get(self, session: Session, resend_id: str, /) -> Resend:
        """Return one with its progress."""

    def count(self, session: Session, selection: Selection, /) -> dict[str, int]:
        """Return how many deliveries would be sent again, by webhook; refused where that takes longer than people wait."""

    def count_part(self, session: Session, selection: Selection, place: CountPlace | None, /) -> CountedPart:
        """Count on from where the part before ended, None for the first; each looks at a bounded number of deliveries."""

    def start(
        self, session: Session, selection: Selection, counts: Mapping[str, int], /, *, actor: str, now: datetime
    ) -> str:
        """Begin one, at the webhooks that were counted; refused while one of the same selection is under way."""

    def cancel(self, session: Session, resend_id: str, /, *, actor: str, now: datetime) -> None:
        """Send nothing more of it; refused once it is over."""
