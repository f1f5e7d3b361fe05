"""Whose turn it is: free slots shared out round-robin, so that no backlog and no dead receiver delays the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from itertools import chain, count, takewhile

from ..model import Due
from .lines import DueTimes, Half, Line
from .project_slots import ProjectSlots

SLOW_MS = 1000
# A webhook of which nothing is known, or whose last attempt timed out, gets this many slots until it answers.
LIMIT_UNPROVEN = 2


class Scheduler:
    """Which webhooks have something due, what they have in flight, and who is slow.

    Projects take turns, and in each its webhooks do: a project with a hundred busy webhooks is one among the others. Slow
    webhooks (last attempt timed out or took over a second) share at most half of all slots. What is looked at are the free
    slots and what is in flight, however many webhooks wait.
    """

    def __init__(self, concurrency: int, per_webhook: int) -> None:
        self.concurrency = concurrency
        self.per_webhook = per_webhook
        self.due: dict[str, Due] = {}
        self.in_flight: Counter[str] = Counter()
        self.slow: set[str] = set()
        self.slow_in_flight = 0
        self.of_projects = ProjectSlots(per_webhook, self.in_flight)
        self._proven: set[str] = set()
        self._later = DueTimes()
        self._ready = {False: Half(), True: Half()}  # by whether they are slow
        # Whoever waited longest has the lowest; a project that has nothing due keeps its own a while.
        self._places: dict[str, int] = {}
        self._project_places: dict[str, int] = {}
        self._next_place = count()

    def forget_idle(self) -> None:
        """Let projects that have nothing due lose their places, and forget which webhooks they have."""
        projects = {one.project_id for one in self.due.values()}
        self._project_places = {one: place for one, place in self._project_places.items() if one in projects}
        self.of_projects.forget()

    def update_due(self, asked: Collection[str], due: dict[str, Due]) -> None:
        """Take over what is due for the webhooks that were asked for."""
        for webhook in asked:
            was = self.due.get(webhook)
            if was is not None:
                self._leave(webhook)
            if webhook in due:
                self.due[webhook] = due[webhook]
                self._project_places.setdefault(due[webhook].project_id, next(self._next_place))
                self._places.setdefault(webhook, next(self._next_place))
                self._later.put(webhook, due[webhook].at)
            elif was is not None:
                self._later.drop(webhook)
                del self.due[webhook], self._places[webhook]

    def next_due(self) -> str | None:
        """Return the earliest time at which a webhook has something due; of those that have it now, one with a free slot."""
        for is_slow, half in self._ready.items():
            if is_slow and self.slow_in_flight >= max(1, self.concurrency // 2):
                continue  # one that ends wakes whoever asks
            for _, webhook in chain.from_iterable(half.of(project) for _, project in half.projects):
                if self.room_of(webhook) > 0:
                    return self.due[webhook].at
        return self._later.first()

    def share_out(self, now: str, room: Room, apart_from: Collection[str] = ()) -> dict[str, int]:
        """Return how many attempts each webhook may begin, a slot of the room at a time in turn, in that order."""
        for webhook in self._later.take(now):
            self._stand(webhook)
        quick, slow = self._ready[False], self._ready[True]

        def in_turn(quick: Line, slow: Line) -> Iterator[str]:
            # Those of the slow half are passed by once it is full, however many they are.
            last = None
            for _, name in merge(quick, takewhile(lambda _: room.has_room_for_slow, slow)):
                if name != last:  # a project may be in both
                    last = name
                    yield name

        def turns(project: str) -> Iterator[str]:
            webhooks = in_turn(quick.of(project), slow.of(project))
            waiting: Iterable[str] = (webhook for webhook in webhooks if webhook not in apart_from)
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
        line: Iterable[Iterator[str]] = (turns(project) for project in in_turn(quick.projects, slow.projects))
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
        self.slow_in_flight += webhook in self.slow
        if webhook in self.due:
            project = self.due[webhook].project_id
            stood = self._leave(webhook)
            self._project_places[project], self._places[webhook] = next(self._next_place), next(self._next_place)
            for half in self._ready.values():
                half.move(project, self._project_places[project])
            if stood:
                self._stand(webhook)

    def end(self, webhook: str, *, timed_out: bool, duration_ms: int) -> None:
        """Give an attempt's slot back and remember whether its webhook is slow."""
        self.give_back(webhook)
        self.remember(webhook, timed_out=timed_out, duration_ms=duration_ms)

    def remember(self, webhook: str, *, timed_out: bool, duration_ms: int) -> None:
        """Take note of how a webhook's last attempt ended: whether it is slow, and whether it answers at all."""
        (self._proven.discard if timed_out else self._proven.add)(webhook)
        is_slow = timed_out or duration_ms > SLOW_MS
        if is_slow is (webhook in self.slow):
            return
        stood = self._leave(webhook)
        (self.slow.add if is_slow else self.slow.discard)(webhook)
        self.slow_in_flight += self.in_flight[webhook] if is_slow else -self.in_flight[webhook]
        if stood:
            self._stand(webhook)

    def give_back(self, webhook: str) -> None:
        """Give an attempt's slot back."""
        self.in_flight[webhook] -= 1
        self.slow_in_flight -= webhook in self.slow
        if not self.in_flight[webhook]:
            del self.in_flight[webhook]

    def room_of(self, webhook: str) -> int:
        """Return how many more attempts a webhook may have in flight."""
        limit = self.per_webhook
        if webhook not in self._proven:
            limit = min(limit, LIMIT_UNPROVEN)
        return limit - self.in_flight[webhook]

    def _stand(self, webhook: str) -> None:
        project = self.due[webhook].project_id
        half = self._ready[webhook in self.slow]
        half.put(project, self._project_places[project], webhook, self._places[webhook])

    def _leave(self, webhook: str) -> bool:
        """Take a webhook out of its line; tell whether it stood there."""
        return webhook in self.due and self._ready[webhook in self.slow].drop(self.due[webhook].project_id, webhook)


class Room:
    """The free slots of one group, given away one at a time: `most` to what is due, and others to what is new."""

    def __init__(self, scheduler: Scheduler, most: int) -> None:
        self._scheduler = scheduler
        free = scheduler.concurrency - scheduler.in_flight.total()
        self.left = min(most, free)
        self._free = free
        self.given: Counter[str] = Counter()
        # An eighth is for webhooks that have nothing in flight: many that turn slow all at once do not take every slot.
        self._spare = free - scheduler.concurrency // 8
        self._for_slow = max(1, scheduler.concurrency // 2) - scheduler.slow_in_flight

    @property
    def has_room_for_slow(self) -> bool:
        """Tell whether slow webhooks may have another slot."""
        return self._for_slow > 0

    def take(self, webhook: str) -> bool:
        """Give a webhook a slot, or tell that it may have none now."""
        scheduler, given = self._scheduler, self.given[webhook]
        is_slow = webhook in scheduler.slow
        is_first = not (given or scheduler.in_flight[webhook])
        if self._free <= 0 or given >= scheduler.room_of(webhook):
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
        due = self._scheduler.due.get(webhook)
        return (served or due is None or due.at > now) and self.take(webhook)
