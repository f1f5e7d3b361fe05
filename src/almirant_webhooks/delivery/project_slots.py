"""How many slots the webhooks of a project have free: for more rows of it a read does not pay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


class ProjectSlots:
    """What was in flight and which webhooks the events of a project came to lately; in the delivery thread alone.

    It is an estimate that nothing but the number of rows to read depends on: a project of which nothing is known has no limit.
    """

    def __init__(self, per_webhook: int) -> None:
        self._per_webhook = per_webhook
        self._projects: dict[str, str] = {}  # by webhook
        self._webhooks: Counter[str] = Counter()  # by project
        self._in_flight: Counter[str] = Counter()  # by project

    def learn(self, enabled: Mapping[tuple[str, str], Iterable[str]], in_flight: Mapping[str, int]) -> None:
        """Take note of the enabled webhooks that match pairs of project and event type, and of what these have in flight."""
        for (project, _), webhooks in enabled.items():
            for webhook in webhooks:
                if webhook not in self._projects:
                    self._projects[webhook] = project
                    self._webhooks[project] += 1
                    self._in_flight[project] += in_flight.get(webhook, 0)

    def begin(self, webhook: str) -> None:
        """Count an attempt as in flight."""
        project = self._projects.get(webhook)
        if project is not None:
            self._in_flight[project] += 1

    def give_back(self, webhook: str) -> None:
        """Give an attempt's slot back."""
        project = self._projects.get(webhook)
        if project is not None:
            self._in_flight[project] -= 1

    def free(self, project: str, reserved: Mapping[str, int]) -> int | None:
        """Return for how many of a project's events there are slots, if each goes to all its webhooks; None: not known.

        `reserved` are slots by project that were given away and have not begun. It is 0 only where no webhook has one.
        """
        webhooks = self._webhooks.get(project)
        if webhooks is None:
            return None
        free = webhooks * self._per_webhook - self._in_flight[project] - reserved.get(project, 0)
        return max(0, -(-free // webhooks))

    def by_project(self, wanted: Mapping[str, int]) -> Counter[str]:
        """Return the slots of webhooks by their projects."""
        slots: Counter[str] = Counter()
        for webhook, count in wanted.items():
            project = self._projects.get(webhook)
            if project is not None:
                slots[project] += count
        return slots

    def forget(self) -> None:
        """Forget all: webhooks may have been deleted."""
        self._projects.clear()
        self._webhooks.clear()
        self._in_flight.clear()
