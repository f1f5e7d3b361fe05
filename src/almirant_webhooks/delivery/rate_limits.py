"""Counts the attempts that began lately at webhooks with a rate limit, and says when the next one may begin.

Times are monotonic seconds, so that a clock that is set neither frees a burst nor holds a webhook up.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from ..rules import rates
from ..rules.rates import Rate
from .queues import DueTimes

# A span is counted in so many slots of time. The last one is for what began early in the oldest slot and late in the newest:
# one attempt less than a hundredth of the span may be held up, and none begins too early.
SLOTS = 100
UNLIMITED = 1 << 30
_MICROSECONDS = 1_000_000


class Span:
    """The attempts that began within the last second, minute or hour: a ring of counts, one for each slot of time."""

    __slots__ = ("_counts", "_most", "_newest", "_total", "_width")

    def __init__(self, rate: Rate) -> None:
        self._most = rate.most
        self._width = rate.seconds * _MICROSECONDS // (SLOTS - 1) + 1
        self._counts = array("I", bytes(4 * SLOTS))
        self._newest = 0  # the number of the newest slot, counted from the beginning of the monotonic clock
        self._total = 0

    def count(self, at: float, attempts: int = 1) -> None:
        """Count attempts that began at a time. Times need not come in their order."""
        slot = self._advance(at)
        if slot > self._newest - SLOTS:
            self._counts[slot % SLOTS] += attempts
            self._total += attempts

    def places(self, at: float) -> int:
        """Return how many attempts may begin now."""
        self._advance(at)
        return max(0, self._most - self._total)

    def next_place(self) -> float:
        """Return when a place comes free, if none is free by the last time that this was told."""
        to_leave = self._total - self._most + 1
        for slot in range(self._newest - SLOTS + 1, self._newest + 1):
            to_leave -= self._counts[slot % SLOTS]
            if to_leave <= 0:
                return ((slot + SLOTS) * self._width + 1) / _MICROSECONDS
        return 0.0

    def is_empty(self, at: float) -> bool:
        """Return whether nothing has begun lately."""
        self._advance(at)
        return not self._total

    def _advance(self, at: float) -> int:
        """Forget what is older than the span; return the slot of a time."""
        slot = int(at * _MICROSECONDS) // self._width
        for gone in range(self._newest + 1, min(slot, self._newest + SLOTS) + 1):
            self._total -= self._counts[gone % SLOTS]
            self._counts[gone % SLOTS] = 0
        self._newest = max(self._newest, slot)
        return slot


class RateLimits:
    """The spans of the webhooks with a rate limit, and which of them wait for a place. Delivery thread alone.

    A webhook whose limit is new or has changed has no place until its span is filled from the log.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._limits: dict[str, str] = {}
        self._spans: dict[str, Span] = {}  # of those that are filled
        self._unfilled: dict[str, None] = {}  # in the order in which they were told
        self._waiting = DueTimes[float]()
        self._held: dict[str, float] = {}  # webhooks that get no place before a time, with a limit or without

    @property
    def is_any_unfilled(self) -> bool:
        """Whether the span of any webhook is to be filled."""
        return bool(self._unfilled)

    def __bool__(self) -> bool:
        """Return whether any webhook has a rate limit, or is held."""
        return bool(self._limits or self._held)

    def set_limit(self, webhook: str, limit: str | None) -> bool:
        """Take note of a webhook's limit, as `10/s`; return whether it has changed."""
        if self._limits.get(webhook) == limit:
            return False
        self._drop(webhook)
        if limit is not None:
            self._limits[webhook] = limit
            self._unfilled[webhook] = None
        return True

    def begin_anew(self, held: Mapping[str, float]) -> None:
        """Have every span filled from the log again, as others may have begun attempts; let the `held` wait until their times."""
        self._unfilled = dict.fromkeys(self._limits)
        self._spans.clear()
        self._held = dict(held)

    def unfilled(self, most: int) -> dict[str, Rate]:
        """Return some of the webhooks whose spans are to be filled, with so many attempts in all, or a single webhook.

        Each counts as a hundred at least, for its statement.
        """
        wanted: dict[str, Rate] = {}
        total = 0
        for webhook in islice(self._unfilled, most):
            rate = rates.parse(self._limits[webhook]) or Rate(1, 3600)  # written by hand, past the rule of the column
            total += max(rate.most, 100)
            if wanted and total > most:
                break
            wanted[webhook] = rate
        return wanted

    def fill(self, webhook: str, rate: Rate, starts: Iterable[tuple[float, int]]) -> None:
        """Fill a webhook's span with the times at which its last attempts began, and how many did."""
        span = self._spans[webhook] = Span(rate)
        for start, attempts in starts:
            span.count(start, attempts)
        self._unfilled.pop(webhook, None)

    def advance(self, now: float) -> list[str]:
        """Go on to a time; return the webhooks that have waited for a place and have one now."""
        self._now = now
        if self._held:
            self._held = {webhook: until for webhook, until in self._held.items() if until > now}
        return list(self._waiting.take(now))

    def places(self, webhook: str) -> int:
        """Return how many attempts of a webhook may begin now; `UNLIMITED` for one without a limit."""
        if webhook in self._held:
            return 0
        span = self._spans.get(webhook)
        if span is None:
            return 0 if webhook in self._limits else UNLIMITED
        return span.places(self._now)

    def places_under(self, webhook: str, limit: str) -> int:
        """Return how many attempts may begin under the limit that a transaction has read; none under one that is new here."""
        return self.places(webhook) if self._limits.get(webhook) == limit else 0

    def count(self, webhook: str, at: float) -> None:
        """Count an attempt that began at a time. Without a span there is nothing to do: the log has it."""
        span = self._spans.get(webhook)
        if span is not None:
            span.count(at)

    def wait(self, webhook: str) -> None:
        """Let a webhook without a place wait for the next one; one that is unfilled waits for that."""
        span = self._spans.get(webhook)
        if webhook in self._held:
            self._waiting.put(webhook, self._held[webhook])
        elif span is not None:
            self._waiting.put(webhook, span.next_place())

    def is_waiting(self, webhook: str) -> bool:
        """Return whether a webhook waits for its next place."""
        return webhook in self._waiting

    def stop_waiting(self, webhook: str) -> None:
        """Let a webhook wait no longer."""
        self._waiting.drop(webhook)

    def seconds_to_place(self, now: float) -> float | None:
        """Return the seconds until a webhook that waits has a place, or None if none waits."""
        first = self._waiting.first()
        return None if first is None else max(0.0, first - now)

    def forget_idle(self, due: Collection[str] | Mapping[str, object]) -> None:
        """Forget webhooks with nothing due and nothing begun lately; the next event of one tells its limit anew."""
        for webhook in self._limits.keys() - due:
            span = self._spans.get(webhook)
            if span is None or span.is_empty(self._now):
                self._drop(webhook)

    def _drop(self, webhook: str) -> None:
        self._limits.pop(webhook, None)
        self._spans.pop(webhook, None)
        self._unfilled.pop(webhook, None)
        self._waiting.drop(webhook)
