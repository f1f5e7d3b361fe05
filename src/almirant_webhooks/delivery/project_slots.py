"""How many slots the webhooks of a project have free: for more rows of it a read does not pay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType


class ProjectSlots:
    """The enabled webhooks that the events of each project came to lately; in the delivery thread alone.

    Nothing but the number of rows to read depends on it: a project of which nothing is known has no limit.
    """

    def __init__(
        self, per_webhook: int, in_flight: Mapping[str, int], concurrency: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self._per_webhook = per_webhook
        self._concurrency = concurrency  # the scheduler's own, of webhooks that have their own limit
        self._in_flight = in_flight  # the scheduler's own count
        self._webhooks: dict[str, set[str]] = {}  # by project, a hundred at most of each

    def learn(self, enabled: Mapping[tuple[str, str], Iterable[str]]) -> None:
        """Take note of the enabled webhooks that match pairs of project and event type."""
        for (project, _), webhooks in enabled.items():
            if webhooks:
                self._webhooks.setdefault(project, set()).update(webhooks)

    def free(self, project: str, by_webhook: Mapping[str, int]) -> int | None:
        """Return for how many of a project's events there are slots, if each goes to all its webhooks; None: not known.

        `by_webhook` are slots by webhook that are given away in the same batch. It is 0 only where no webhook has a free slot.
        """
        webhooks = self._webhooks.get(project)
        if webhooks is None:
            return None
        in_flight, limits, limit = self._in_flight, self._concurrency, self._per_webhook
        # One whose limit was lowered may be above it, which takes no slot of the others.
        free = sum(
            [
                max(0, limits.get(webhook, limit) - in_flight.get(webhook, 0) - by_webhook.get(webhook, 0))
                for webhook in webhooks
            ]
        )
        return -(-free // len(webhooks))

    def forget(self) -> None:
        """Forget all: webhooks may have been deleted."""
        self._webhooks.clear()
