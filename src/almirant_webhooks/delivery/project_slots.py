"""How many free slots the webhooks of a project have. A batch reads no more of its rows than that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping


class ProjectSlots:
    """The enabled webhooks that recent events of each project matched; in the delivery thread alone.

    It only limits how many rows are read. A project of which nothing is known has no limit.
    """

    def __init__(self, in_flight: Mapping[str, int], limit: Callable[[str], int]) -> None:
        self._limit = limit  # the scheduler's own: how many attempts of a webhook may be in flight
        self._in_flight = in_flight  # the scheduler's own count
        self._webhooks: dict[str, set[str]] = {}  # by project, a hundred at most of each

    def learn(self, enabled: Mapping[tuple[str, str], Iterable[str]]) -> None:
        """Add the enabled webhooks that match pairs of project and event type."""
        for (project, _), webhooks in enabled.items():
            if webhooks:
                self._webhooks.setdefault(project, set()).update(webhooks)

    def free(self, project: str, by_webhook: Mapping[str, int]) -> int | None:
        """Return how many of a project's events have slots if each goes to all its webhooks; None if unknown.

        `by_webhook` has the slots that the same batch gives away. The result is 0 only if no webhook has a free slot.
        """
        webhooks = self._webhooks.get(project)
        if webhooks is None:
            return None
        in_flight, limit = self._in_flight, self._limit
        # One whose limit was lowered may be above it, which takes no slot of the others.
        free = sum(
            [max(0, limit(webhook) - in_flight.get(webhook, 0) - by_webhook.get(webhook, 0)) for webhook in webhooks]
        )
        return -(-free // len(webhooks))

    def forget(self) -> None:
        """Forget all projects: some of their webhooks may have been deleted."""
        self._webhooks.clear()
