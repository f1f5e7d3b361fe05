"""Whose turn it is: free slots shared out round-robin, so that no backlog and no dead receiver delays the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from .model import Due

SLOW_MS = 1000
# A webhook that has not answered quickly since the start gets this many slots until it does.
LIMIT_UNPROVEN = 2


class Shares:
    """Which webhooks have something due, what they have in flight, and who is slow.

    Projects take turns, and in each its webhooks do: a project with a hundred busy webhooks is one among the others. Slow
    webhooks (last attempt timed out or took over a second) share at most half of all slots.
    """

    def __init__(self, concurrency: int, per_webhook: int) -> None:
        self.concurrency = concurrency
        self.per_webhook = per_webhook
        self.due: dict[str, Due] = {}
        self.in_flight: Counter[str] = Counter()
        self.slow: set[str] = set()
        self._proven: set[str] = set()
        # Projects and their webhooks, those that waited longest first; one that has nothing due keeps its place a while.
        self._line: dict[str, dict[str, None]] = {}

    def replace_due(self, due: dict[str, Due]) -> None:
        """Take over what is due for all webhooks, keeping whose turn it is."""
        line: dict[str, dict[str, None]] = {
            project: {webhook: None for webhook in webhooks if webhook in due}
            for project, webhooks in self._line.items()
        }
        self._line = {project: webhooks for project, webhooks in line.items() if webhooks}
        self.due = {}
        self.update_due(due, due)

    def update_due(self, asked: Collection[str], due: dict[str, Due]) -> None:
        """Take over what is due for the webhooks that were asked for."""
        for webhook in asked:
            if webhook in due:
                self.due[webhook] = due[webhook]
                self._line.setdefault(due[webhook].project_id, {}).setdefault(webhook)
            elif (was := self.due.pop(webhook, None)) is not None:
                self._line[was.project_id].pop(webhook, None)

    def next_due(self) -> str | None:
        """Return the earliest time at which a webhook with a free slot has something due."""
        return min((due.at for webhook, due in self.due.items() if self._room(webhook) > 0), default=None)

    def share_out(self, now: str, most: int, apart_from: Collection[str] = ()) -> dict[str, int]:
        """Return how many attempts each webhook may begin, `most` in all, a slot at a time in turn, in that order."""
        free_now = self.concurrency - self.in_flight.total()
        free = min(most, free_now)
        # An eighth is for webhooks that have nothing in flight: many that turn slow all at once do not take every slot.
        spare = free_now - self.concurrency // 8
        slow_free = max(1, self.concurrency // 2) - sum(self.in_flight[webhook] for webhook in self.slow)
        given: Counter[str] = Counter()

        def may(webhook: str) -> bool:
            is_first = not (given[webhook] or self.in_flight[webhook])
            has_room = given[webhook] < self._room(webhook)
            return has_room and (webhook not in self.slow or slow_free > 0) and (is_first or spare > 0)

        def turns(webhooks: Iterable[str]) -> Iterator[str]:
            waiting: Iterable[str] = (one for one in webhooks if self.due[one].at <= now and one not in apart_from)
            while True:
                again = []
                for webhook in waiting:
                    if may(webhook):
                        again.append(webhook)
                        yield webhook
                if not again:
                    return
                waiting = again

        # A round ends with the free slots: of many thousands of projects only so many are looked at.
        line: Iterable[Iterator[str]] = (turns(webhooks) for webhooks in self._line.values() if webhooks)
        while free > 0:
            others = []
            for project in line:
                if (webhook := next(project, None)) is not None:
                    given[webhook] += 1
                    free -= 1
                    spare -= 1
                    slow_free -= webhook in self.slow
                    others.append(project)
                if free <= 0:
                    break
            line = others
            if not others:
                break
        return dict(given)

    def begin(self, webhook: str) -> None:
        """Count an attempt as in flight; its webhook and its project go to the end of the line."""
        self.in_flight[webhook] += 1
        if webhook in self.due:
            project = self.due[webhook].project_id
            webhooks = self._line.pop(project)
            webhooks[webhook] = webhooks.pop(webhook)
            self._line[project] = webhooks

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
