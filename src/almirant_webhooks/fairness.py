"""Whose turn it is: free slots shared out round-robin, so that no backlog and no dead receiver delays the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

SLOW_MS = 1000
# A webhook that has not answered quickly since the start gets this many slots until it does.
LIMIT_UNPROVEN = 2


class Shares:
    """Which webhooks have something due, what they have in flight, and who is slow.

    `due` maps a webhook to the text time of its next attempt. Slow webhooks (last attempt timed out or took over a
    second) share at most half of all slots.
    """

    def __init__(self, concurrency: int, per_webhook: int) -> None:
        self.concurrency = concurrency
        self.per_webhook = per_webhook
        self.due: dict[str, str] = {}
        self.in_flight: Counter[str] = Counter()
        self.slow: set[str] = set()
        self._proven: set[str] = set()

    def replace_due(self, due: dict[str, str]) -> None:
        """Take over what is due for all webhooks, keeping whose turn it is."""
        order = [webhook for webhook in self.due if webhook in due]
        self.due = {webhook: due[webhook] for webhook in order} | due

    def update_due(self, asked: set[str], due: dict[str, str]) -> None:
        """Take over what is due for the webhooks that were asked for."""
        for webhook in asked:
            if webhook in due:
                self.due[webhook] = due[webhook]
            else:
                self.due.pop(webhook, None)

    def next_due(self) -> str | None:
        """Return the earliest time at which a webhook with a free slot has something due."""
        return min((time for webhook, time in self.due.items() if self._room(webhook) > 0), default=None)

    def share_out(self, now: str, most: int, apart_from: Collection[str] = ()) -> dict[str, int]:
        """Return how many attempts each webhook may begin, `most` in all, a slot at a time in turn."""
        free_now = self.concurrency - self.in_flight.total()
        free = min(most, free_now)
        # An eighth is for webhooks that have nothing in flight: many that turn slow all at once do not take every slot.
        spare = free_now - self.concurrency // 8
        slow_free = max(1, self.concurrency // 2) - sum(self.in_flight[webhook] for webhook in self.slow)
        given: Counter[str] = Counter()
        # The first round ends with the free slots: of many thousands that have something due only so many are looked at.
        line: Iterable[str] = (one for one, time in self.due.items() if time <= now and one not in apart_from)
        while free > 0:
            before, asked = free, []
            for webhook in line:
                is_slow = webhook in self.slow
                is_first = not (given[webhook] or self.in_flight[webhook])
                room = given[webhook] < self._room(webhook)
                if room and (not is_slow or slow_free > 0) and (is_first or spare > 0):
                    given[webhook] += 1
                    free -= 1
                    spare -= 1
                    slow_free -= is_slow
                    asked.append(webhook)
                    if not free:
                        break
            if free == before:
                break
            line = asked
        return dict(given)

    def begin(self, webhook: str) -> None:
        """Count an attempt as in flight; its webhook goes to the end of the line."""
        self.in_flight[webhook] += 1
        if webhook in self.due:
            self.due[webhook] = self.due.pop(webhook)

    def end(self, webhook: str, *, timed_out: bool, duration_ms: int) -> None:
        """Give an attempt's slot back and remember whether its webhook is slow."""
        self.in_flight[webhook] -= 1
        if not self.in_flight[webhook]:
            del self.in_flight[webhook]
        if timed_out or duration_ms > SLOW_MS:
            self.slow.add(webhook)
        else:
            self.slow.discard(webhook)
            self._proven.add(webhook)

    def _room(self, webhook: str) -> int:
        limit = self.per_webhook
        if webhook not in self._proven:
            limit = min(limit, LIMIT_UNPROVEN)
        return limit - self.in_flight[webhook]
