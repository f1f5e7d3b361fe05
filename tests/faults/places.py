"""The order of ordered webhooks beside the machine of `test_steps`: the place of each delivery, and what may begin."""

from __future__ import annotations

from collections.abc import Iterable

from almirant_webhooks.model import Claim, Trigger
from almirant_webhooks.storage.sql.session import Session

_PENDING = "SELECT event_id FROM delivery_log WHERE webhook_id = ? AND state = 'pending'"


class Places:
    """The events of each webhook in the order in which its deliveries were made, by fan-out and by replays."""

    def __init__(self) -> None:
        self.ordered: set[str] = set()  # webhooks
        self._places: dict[str, dict[str, int]] = {}

    def give(self, webhook: str, events: Iterable[str]) -> None:
        """Give events the next places of a webhook; one that has a place keeps it."""
        places = self._places.setdefault(webhook, {})
        for event in events:
            places.setdefault(event, len(places))

    def check(self, conn: Session, claim: Claim, under_way: Iterable[Claim]) -> None:
        """Hold a claim of an ordered webhook against its others: what is under way, and what is pending."""
        if claim.webhook_id not in self.ordered:
            return
        places = self._places[claim.webhook_id]
        events = {row[0] for row in conn.execute(_PENDING, (claim.webhook_id,))}
        assert places.keys() >= {claim.event_id, *events}, "a delivery was made that should not be there"
        place, pending = places[claim.event_id], [places[event] for event in events]
        others = [other for other in under_way if other.webhook_id == claim.webhook_id]
        assert claim.trigger not in {other.trigger for other in others}, "a second attempt of its kind at a time"
        if claim.trigger is Trigger.SCHEDULED:
            assert place == min(pending), "one before it is pending"
