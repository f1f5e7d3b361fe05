"""The rate limits of webhooks beside the machine of `test_steps`: what the daemon's memory has, and what really began."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from almirant_webhooks import clock
from almirant_webhooks.delivery.rate_limits import RateLimits
from almirant_webhooks.model import Claim
from almirant_webhooks.rules import rates
from almirant_webhooks.storage.sql import starts
from almirant_webhooks.storage.sql.allowance import Allowance
from almirant_webhooks.storage.sql.session import Session

LIMITS = (None, "1/s", "2/m", "3/h")


class Limits:
    """As `DueLoader` and `Scheduler` keep them; `moment` is the time by a clock that nobody sets, in seconds."""

    def __init__(self) -> None:
        self.rates = RateLimits()
        self.moment = 1000.0
        self.limits: dict[str, str | None] = {}
        self.begun: list[tuple[str, float]] = []

    def forget(self) -> None:
        """Lose what is in memory, as a crash does."""
        self.rates = RateLimits()

    def read(self, conn: Session, now: datetime) -> None:
        """Read the limits of all webhooks, and fill the spans of those that are new."""
        for webhook, limit in conn.execute("SELECT id, rate_limit FROM webhooks"):
            self.rates.set_limit(webhook, limit)
        wanted = self.rates.unfilled(10_000)
        for webhook, found in starts.recent_starts(conn, wanted, now).items():
            ages = ((max(0.0, -clock.seconds_until(start, now)), count) for start, count in found)
            self.rates.fill(webhook, wanted[webhook], [(self.moment - age, count) for age, count in ages])

    def allowance(self) -> Allowance:
        """Return what a transaction may begin."""
        self.rates.advance(self.moment)
        return Allowance(places=self.rates.places_under)

    def send(self, claims: Iterable[Claim]) -> None:
        """Count what has begun; no span may hold more than the limit that its webhook has now."""
        for claim in claims:
            if claim.limited:
                self.rates.count(claim.webhook_id, self.moment)
            self.begun.append((claim.webhook_id, self.moment))
            rate = rates.parse(self.limits.get(claim.webhook_id) or "")
            if rate is not None:
                within = [
                    at for webhook, at in self.begun if webhook == claim.webhook_id and at >= self.moment - rate.seconds
                ]
                assert len(within) <= rate.most, "more attempts began than the rate limit allows"
