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
        self.due = dict(due)  # at once, as a group that is being written reads it on another thread
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
        return min((due.at for webhook, due in self.due.items() if self.room_of(webhook) > 0), default=None)

    def share_out(self, now: str, room: Room, apart_from: Collection[str] = ()) -> dict[str, int]:
        """Return how many attempts each webhook may begin, a slot of the room at a time in turn, in that order."""

        def turns(webhooks: Iterable[str]) -> Iterator[str]:
            waiting: Iterable[str] = (one for one in webhooks if self.due[one].at <= now and one not in apart_from)
            while True:
                again = []
                for webhook in waiting:
                    if room.left > 0 and room.take(webhook):
                        again.append(webhook)
                        yield webhook
                if not again:
                    return
                waiting = again

        # A round ends with the free slots: of many thousands of projects only so many are looked at.
        line: Iterable[Iterator[str]] = (turns(webhooks) for webhooks in self._line.values() if webhooks)
        while room.left > 0:
            others = []
            for project in line:
                if next(project, None) is not None:
                    others.append(project)
                if room.left <= 0:
                    break
            line = others
            if not others:
                break
        return dict(room.given)

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
        self.give_back(webhook)
        if timed_out or duration_ms > SLOW_MS:
            self.slow.add(webhook)
        else:
            self.slow.discard(webhook)
            self._proven.add(webhook)

    def give_back(self, webhook: str) -> None:
        """Give an attempt's slot back."""
        self.in_flight[webhook] -= 1
        if not self.in_flight[webhook]:
            del self.in_flight[webhook]

    def room_of(self, webhook: str) -> int:
        """Return how many more attempts a webhook may have in flight."""
        limit = self.per_webhook
        if webhook not in self._proven:
            limit = min(limit, LIMIT_UNPROVEN)
        return limit - self.in_flight[webhook]


class Room:
    """The free slots of one group, given away one at a time: `most` to what is due, and others to what is new."""

    def __init__(self, shares: Shares, most: int) -> None:
        self._shares = shares
        free = shares.concurrency - shares.in_flight.total()
        self.left = min(most, free)
        self._free = free
        self.given: Counter[str] = Counter()
        # An eighth is for webhooks that have nothing in flight: many that turn slow all at once do not take every slot.
        self._spare = free - shares.concurrency // 8
        self._for_slow = max(1, shares.concurrency // 2) - sum(shares.in_flight[webhook] for webhook in shares.slow)

    def take(self, webhook: str) -> bool:
        """Give a webhook a slot, or tell that it may have none now."""
        shares, given = self._shares, self.given[webhook]
        is_slow = webhook in shares.slow
        is_first = not (given or shares.in_flight[webhook])
        if self._free <= 0 or given >= shares.room_of(webhook):
            return False
        if (is_slow and self._for_slow <= 0) or (self._spare <= 0 and not is_first):
            return False
        self.given[webhook] += 1
        self.left -= 1
        self._free -= 1
        self._spare -= 1
        self._for_slow -= is_slow
        return True

    def take_new(self, webhook: str, now: str, *, served: bool = False) -> bool:
        """Give a webhook a slot for a delivery that is new, unless others of its deliveries wait that were not just `served`."""
        due = self._shares.due.get(webhook)
        return (served or due is None or due.at > now) and self.take(webhook)
