"""Allocates free slots round-robin, so that no backlog and no dead receiver delays the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import chain, count, takewhile

from ..model import Claim, Due
from ..rules.rates import Rate
from ..storage.engine import FanOut
from .project_slots import ProjectSlots
from .queues import DueTimes, Queue, ReadyWebhooks
from .rate_limits import RateLimits

SLOW_MS = 1000
# A webhook of which nothing is known, or whose last attempt timed out, gets this many slots until it answers.
LIMIT_UNPROVEN = 2


class Scheduler:
    """Knows which webhooks have something due, what is in flight, and which webhooks are slow. Delivery thread alone; in memory only.

    A slot is a place in the counting semaphore of `delivery.concurrency` (all webhooks) and `per_webhook`. Projects take
    turns, and within a project its webhooks do. Slow webhooks (the last attempt timed out or took over a second) share at
    most half of all slots. One with a rate limit and no place left is in no queue until a place comes free. The cost depends on free slots and attempts in flight, not on how many webhooks wait.
    """

    def __init__(self, concurrency: int, per_webhook: int) -> None:
        self.concurrency = concurrency
        self.per_webhook = per_webhook
        self.due: dict[str, Due] = {}
        self.in_flight: Counter[str] = Counter()
        self.slow: set[str] = set()
        self.slow_in_flight = 0
        self.concurrency_of: dict[str, int] = {}  # of webhooks that say how many they want at once
        self.project_slots = ProjectSlots(self.in_flight, self.limit)
        self.rates = RateLimits()
        self.owns: Callable[[str], bool] | None = None  # whether a project is this daemon's; None: all are
        self._proven: set[str] = set()
        self._later = DueTimes[str]()
        self._ready = {False: ReadyWebhooks(), True: ReadyWebhooks()}  # by whether they are slow
        # The lowest position has waited longest. A project with nothing due keeps its position for a while.
        self._positions: dict[str, int] = {}
        self._project_positions: dict[str, int] = {}
        self._next_position = count()

    def forget_idle(self) -> None:
        """Drop the positions of projects that have nothing due, and what is known of projects' webhooks."""
        projects = {due.project_id for due in self.due.values()}
        self._project_positions = {
            project: position for project, position in self._project_positions.items() if project in projects
        }
        self.project_slots.forget()
        for webhook in self.concurrency_of.keys() - self.due.keys():  # it may be deleted; the next event tells it anew
            del self.concurrency_of[webhook]
        self.rates.forget_idle(self.due.keys())

    def learn(self, fan_out: FanOut) -> None:
        """Take note of which webhooks there are for a project's events, and how much each takes, if it says so."""
        self.project_slots.learn(fan_out.enabled)
        if self.concurrency_of:
            for webhook in chain.from_iterable(fan_out.enabled.values()):
                self.concurrency_of.pop(webhook, None)
        self.concurrency_of |= fan_out.concurrency
        if self.rates or fan_out.rate_limits:
            for webhook in chain.from_iterable(fan_out.enabled.values()):
                if self.rates.set_limit(webhook, fan_out.rate_limits.get(webhook)) and webhook in self.due:
                    self._later.put(webhook, self.due[webhook].at)

    def update_due(self, webhooks: Collection[str], due: dict[str, Due]) -> None:
        """Set when each of these webhooks has its next attempt; one that is missing in `due`, or another daemon's, has none."""
        if self.owns is not None:
            due = {webhook: item for webhook, item in due.items() if self.owns(item.project_id)}
        for webhook in webhooks:
            previous = self.due.get(webhook)
            if previous is not None:
                if due.get(webhook) == previous and self.rates.is_waiting(webhook):
                    continue  # all are read again and again, and thousands may wait
                self._dequeue(webhook)
                self.rates.stop_waiting(webhook)
            if webhook in due:
                self.due[webhook] = due[webhook]
                if (most := due[webhook].concurrency) is not None:
                    self.concurrency_of[webhook] = most
                elif self.concurrency_of:
                    self.concurrency_of.pop(webhook, None)
                if self.rates or due[webhook].rate_limit is not None:
                    self.rates.set_limit(webhook, due[webhook].rate_limit)
                self._project_positions.setdefault(due[webhook].project_id, next(self._next_position))
                self._positions.setdefault(webhook, next(self._next_position))
                self._later.put(webhook, due[webhook].at)
            elif previous is not None:
                self._later.drop(webhook)
                del self.due[webhook], self._positions[webhook]

    def change_owner(self, held: Mapping[str, float]) -> None:
        """Forget the webhooks of projects that are no longer this daemon's, and what others may have done meanwhile.

        Each of the webhooks that are `held` gets no slot until its time, in monotonic seconds.
        """
        self.rates.begin_anew(held)
        self.project_slots.forget()
        self.update_due(list(self.due), dict(self.due))

    def advance(self, at: float) -> None:
        """Go on to a time in monotonic seconds: webhooks whose rate limit has a place again take turns again."""
        for webhook in self.rates.advance(at):
            self._enqueue(webhook)

    def fill_span(self, webhook: str, rate: Rate, starts: Iterable[tuple[float, int]]) -> None:
        """Fill the span of a webhook's rate limit with the times, in monotonic seconds, at which so many attempts began."""
        self.rates.fill(webhook, rate, starts)
        if webhook in self.due:
            self._later.put(webhook, self.due[webhook].at)

    @property
    def is_anything_ready(self) -> bool:
        """Whether a webhook has something due now; it may have no free slot."""
        return any(half.projects for half in self._ready.values())

    def next_due(self) -> str | None:
        """Return the earliest due time, or None; webhooks with something due now count only if they have a free slot."""
        for is_slow, half in self._ready.items():
            if is_slow and self.slow_in_flight >= max(1, self.concurrency // 2):
                continue  # a result frees a slot, and wakes the thread
            for _, webhook in chain.from_iterable(half.webhooks_of(project) for _, project in half.projects):
                if self.free_slots(webhook) > 0:
                    return self.due[webhook].at
        return self._later.first()

    def allocate(self, now: str, slots: Slots, excluding: Collection[str] = ()) -> dict[str, int]:
        """Return how many attempts each webhook may begin, in the order of their turns. `now` is a text time."""
        for webhook in self._later.take(now):
            self._enqueue(webhook)
        quick, slow = self._ready[False], self._ready[True]

        def in_turn(quick: Queue, slow: Queue) -> Iterator[str]:
            # Once the slow half is full, none of its webhooks is looked at.
            last = None
            for _, name in merge(quick, takewhile(lambda _: slots.has_slot_for_slow, slow)):
                if name != last:  # a project may be in both
                    last = name
                    yield name

        def turns(project: str) -> Iterator[str]:
            webhooks = in_turn(quick.webhooks_of(project), slow.webhooks_of(project))
            waiting: Iterable[str] = (webhook for webhook in webhooks if webhook not in excluding)
            while True:
                still_waiting = []
                for webhook in waiting:
                    if slots.left > 0 and slots.take(webhook):
                        still_waiting.append(webhook)
                        yield webhook
                if not still_waiting:
                    return
                waiting = still_waiting

        # A round ends when no slot is free: of thousands of projects only so many are looked at.
        projects: Iterable[Iterator[str]] = (turns(project) for project in in_turn(quick.projects, slow.projects))
        while slots.left > 0:
            waiting_projects = []
            for project in projects:
                if next(project, None) is not None:
                    waiting_projects.append(project)
                if slots.left <= 0:
                    break
            projects = waiting_projects
            if not waiting_projects:
                break
        return dict(slots.taken)

    def count(self, begun: Sequence[Claim], at: float) -> None:
        """Count attempts that begin, at a time in monotonic seconds, in the rate limits of their webhooks."""
        for claim in begun:
            if claim.limited:
                self.rates.count(claim.webhook_id, at)

    def begin(self, webhook: str) -> None:
        """Count an attempt as in flight; its webhook and its project go to the end of their queues."""
        self.in_flight[webhook] += 1
        self.slow_in_flight += webhook in self.slow
        if webhook in self.due:
            project = self.due[webhook].project_id
            was_queued = self._dequeue(webhook)
            self._project_positions[project], self._positions[webhook] = (
                next(self._next_position),
                next(self._next_position),
            )
            for half in self._ready.values():
                half.move(project, self._project_positions[project])
            if was_queued:
                self._enqueue(webhook)

    def end(self, webhook: str, *, timed_out: bool, duration_ms: int) -> None:
        """Free an attempt's slot, and remember whether its webhook is slow."""
        self.release(webhook)
        self.remember(webhook, timed_out=timed_out, duration_ms=duration_ms)

    def remember(self, webhook: str, *, timed_out: bool, duration_ms: int) -> None:
        """Remember whether a webhook is slow, and whether it answers, by its last attempt."""
        (self._proven.discard if timed_out else self._proven.add)(webhook)
        is_slow = timed_out or duration_ms > SLOW_MS
        if is_slow is (webhook in self.slow):
            return
        was_queued = self._dequeue(webhook)
        (self.slow.add if is_slow else self.slow.discard)(webhook)
        self.slow_in_flight += self.in_flight[webhook] if is_slow else -self.in_flight[webhook]
        if was_queued:
            self._enqueue(webhook)

    def release(self, webhook: str) -> None:
        """Free an attempt's slot."""
        self.in_flight[webhook] -= 1
        self.slow_in_flight -= webhook in self.slow
        if not self.in_flight[webhook]:
            del self.in_flight[webhook]

    def limit(self, webhook: str) -> int:
        """Return how many attempts a webhook may have in flight."""
        limit = self.concurrency_of.get(webhook, self.per_webhook)
        return limit if webhook in self._proven else min(limit, LIMIT_UNPROVEN)

    def free_slots(self, webhook: str) -> int:
        """Return how many more attempts a webhook may have in flight."""
        free = self.limit(webhook) - self.in_flight[webhook]
        return min(free, self._places(webhook)) if self.rates else free

    def _places(self, webhook: str) -> int:
        """Return how many attempts the rate limit allows now; a test that waits goes beyond it."""
        due = self.due.get(webhook)
        return self.rates.places(webhook) + (due is not None and due.test)

    def _enqueue(self, webhook: str) -> None:
        if self.rates and self._places(webhook) <= 0:
            self.rates.wait(webhook)
            return
        project = self.due[webhook].project_id
        half = self._ready[webhook in self.slow]
        half.put(project, self._project_positions[project], webhook, self._positions[webhook])

    def _dequeue(self, webhook: str) -> bool:
        """Remove a webhook from its queue; return whether it was there."""
        return webhook in self.due and self._ready[webhook in self.slow].drop(self.due[webhook].project_id, webhook)


class Slots:
    """The free slots of one batch: at most `limit` for due deliveries, all others for new ones."""

    def __init__(self, scheduler: Scheduler, limit: int) -> None:
        self._scheduler = scheduler
        free = scheduler.concurrency - scheduler.in_flight.total()
        self.left = min(limit, free)
        self._free = free
        self.taken: Counter[str] = Counter()
        self._for_slow = max(1, scheduler.concurrency // 2) - scheduler.slow_in_flight

    @property
    def has_slot_for_slow(self) -> bool:
        """Whether slow webhooks may have another slot."""
        return self._for_slow > 0

    def take(self, webhook: str) -> bool:
        """Take a slot for a webhook; return whether it may have one now."""
        scheduler, taken = self._scheduler, self.taken[webhook]
        is_slow = webhook in scheduler.slow
        is_first = not (taken or scheduler.in_flight[webhook])
        if self._free <= 0 or taken >= scheduler.free_slots(webhook):
            return False
        # An eighth is for webhooks with nothing in flight: many that turn slow all at once do not take every slot.
        if (is_slow and self._for_slow <= 0) or (self._free <= scheduler.concurrency // 8 and not is_first):
            return False
        self.taken[webhook] += 1
        self.left -= 1
        self._free -= 1
        self._for_slow -= is_slow
        return True

    def take_new(self, webhook: str, now: str, *, served: bool = False) -> bool:
        """Take a slot for a new delivery of a webhook; return whether it got one.

        It gets none while older deliveries of the webhook are due, unless these were `served` in the same batch.
        """
        due = self._scheduler.due.get(webhook)
        return (served or due is None or due.at > now) and self.take(webhook)
