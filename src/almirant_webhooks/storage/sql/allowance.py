"""How many attempts of each webhook a transaction may begin, by the options that it reads itself."""

from __future__ import annotations

from collections.abc import Callable, KeysView, Mapping
from types import MappingProxyType

from ..engine import Work

_NOTHING: Mapping[str, int] = MappingProxyType({})


class Allowance:
    """What is left to webhooks with a `concurrency` or a `rate_limit`, whatever the scheduler allowed before a change.

    A webhook that had a `concurrency` when the scheduler last looked, and has none any more, gets `per_webhook`. All others
    are bounded by the scheduler alone.
    """

    def __init__(
        self,
        in_flight: Mapping[str, int] = _NOTHING,
        concurrency: Mapping[str, int] = _NOTHING,
        per_webhook: int = 0,
        places: Callable[[str, str], int] = lambda webhook, rate_limit: 0,
    ) -> None:
        self._in_flight = in_flight
        self._concurrency = concurrency
        self._per_webhook = per_webhook
        self._places_of = places
        self._slots: dict[str, int] = {}
        self._places: dict[str, int] = {}

    @classmethod
    def of(cls, work: Work) -> Allowance:
        """Return that of a batch."""
        return cls(work.in_flight, work.concurrency, work.per_webhook, work.places)

    @property
    def had_concurrency(self) -> KeysView[str]:
        """The webhooks that had a `concurrency` when the scheduler last looked."""
        return self._concurrency.keys()

    @property
    def bounds_any(self) -> bool:
        """Whether any webhook that was read is bounded."""
        return bool(self._slots or self._places)

    def read(self, webhook: str, concurrency: int | None, rate_limit: str | None) -> None:
        """Bound a webhook by its options as this transaction reads them."""
        if webhook not in self._slots and (concurrency is not None or webhook in self._concurrency):
            most = self._per_webhook if concurrency is None else concurrency
            self._slots[webhook] = most - self._in_flight.get(webhook, 0)
        if rate_limit is not None and webhook not in self._places:
            self._places[webhook] = self._places_of(webhook, rate_limit)

    def has_rate_limit(self, webhook: str) -> bool:
        """Return whether a webhook that was read has a rate limit."""
        return webhook in self._places

    def is_left(self, webhook: str, *, test: bool = False) -> bool:
        """Return whether one more attempt of a webhook may begin; a test waits for no rate limit."""
        return self._slots.get(webhook, 1) > 0 and (test or self._places.get(webhook, 1) > 0)

    def take(self, webhook: str, *, test: bool = False) -> None:
        """Count one attempt as begun; a test counts in no rate limit."""
        if webhook in self._slots:
            self._slots[webhook] -= 1
        if webhook in self._places and not test:
            self._places[webhook] -= 1
