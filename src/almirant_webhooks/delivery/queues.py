"""The scheduler's queues: due times with the earliest first, and webhooks with the one that waited longest first."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Time = TypeVar("Time", str, float)


class DueTimes(Generic[Time]):
    """When each webhook is to be looked at, as text or in seconds. Finding the earliest does not look at the others."""

    def __init__(self) -> None:
        self._at: dict[str, Time] = {}
        self._heap: list[tuple[Time, str]] = []  # outdated entries are dropped when they come first

    def put(self, webhook: str, at: Time) -> None:
        """Set a webhook's time."""
        if self._at.get(webhook) == at:
            return
        self._at[webhook] = at
        heappush(self._heap, (at, webhook))
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [(at, webhook) for webhook, at in self._at.items()]
            heapify(self._heap)

    def __contains__(self, webhook: str) -> bool:
        """Return whether a webhook has a time."""
        return webhook in self._at

    def drop(self, webhook: str) -> None:
        """Forget a webhook's time, if it has one."""
        self._at.pop(webhook, None)

    def first(self) -> Time | None:
        """Return the earliest time, or None."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: Time) -> Iterator[str]:
        """Remove and yield the webhooks whose time has come, the earliest first."""
        while (at := self.first()) is not None and at <= now:
            _, webhook = heappop(self._heap)
            del self._at[webhook]
            yield webhook


class Queue:
    """Names in the order of their positions."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []

    def put(self, name: str, position: int) -> None:
        """Add a name at a position, or move it there."""
        self.drop(name)
        self._positions[name] = position
        insort(self._order, (position, name))

    def drop(self, name: str) -> None:
        """Remove a name, if it is there."""
        position = self._positions.pop(name, None)
        if position is not None:
            del self._order[bisect_left(self._order, (position, name))]

    def __contains__(self, name: str) -> bool:
        """Return whether a name is there."""
        return name in self._positions

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield positions and names, the lowest position first."""
        return iter(self._order)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._order)


_EMPTY = Queue()


class ReadyWebhooks:
    """The webhooks of one half (quick or slow) with something due now: a queue of projects, each with a queue of webhooks."""

    def __init__(self) -> None:
        self.projects = Queue()
        self._webhooks: dict[str, Queue] = {}

    def webhooks_of(self, project: str) -> Queue:
        """Return the queue of a project's webhooks, which may be empty."""
        return self._webhooks.get(project, _EMPTY)

    def put(self, project: str, project_position: int, webhook: str, position: int) -> None:
        """Add a webhook to the queue of its project, and the project to the queue of projects."""
        self.projects.put(project, project_position)
        self._webhooks.setdefault(project, Queue()).put(webhook, position)

    def move(self, project: str, position: int) -> None:
        """Move a project to another position, if it is there."""
        if project in self.projects:
            self.projects.put(project, position)

    def drop(self, project: str, webhook: str) -> bool:
        """Remove a webhook; return whether it was there."""
        queue = self.webhooks_of(project)
        if webhook not in queue:
            return False
        queue.drop(webhook)
        if not queue:
            del self._webhooks[project]
            self.projects.drop(project)
        return True
