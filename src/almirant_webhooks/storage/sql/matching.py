"""Which webhooks subscribe to an event, with what fan-out needs to know of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...rules.event_types import patterns_for
from ...rules.filters import Compiled, compiled
from ..engine import FanOut
from . import order

SUBSCRIBED = f"""
SELECT json_group_array(json_array(w.project_id, s.pattern, w.id, w.generation, w.filter, {order.CONCURRENCY}, w.rate_limit,
                                   w.template, CASE WHEN w.ordered = 1 THEN {order.IS_FREE} END,
                                   w.enabled, w.url, w.secret, w.next_secret, w.switch_at, w.headers))
FROM json_each(?1) v CROSS JOIN webhooks w ON w.project_id = json_extract(v.value, '$[0]') AND w.deleted_at IS NULL
CROSS JOIN subscriptions s ON s.webhook_id = w.id AND s.pattern = json_extract(v.value, '$[1]')
"""


class Webhooks(NamedTuple):
    """The webhooks that match each pair of project and event type, without doubles; `keys` has the enabled ones."""

    matching: dict[tuple[str, str], tuple[str, ...]]
    keys: dict[str, Sequence[Any]]  # URL, secrets and headers
    generations: dict[str, int]
    concurrency: dict[str, int]  # of those that say how many they want at once
    rate_limits: dict[str, str]  # of those that have one
    templates: dict[str, str]  # of those that have one
    filters: dict[str, Compiled]  # of those that have one
    free: dict[str, bool]  # of the ordered ones: whether nothing is ahead of a new delivery

    def tell(self, result: FanOut) -> None:
        """Tell the scheduler, with the batch, which of each pair are enabled, and how much each takes, if it says so."""
        result.enabled = {kind: [wh for wh in listed if wh in self.keys] for kind, listed in self.matching.items()}
        result.concurrency, result.rate_limits = self.concurrency, self.rate_limits


def patterns_of(kinds: Iterable[tuple[str, str]]) -> str:
    """Return, as JSON, the pairs of project and pattern that match pairs of project and event type."""
    return json.dumps(list({(project, pattern) for project, kind in kinds for pattern in patterns_for(kind)}))


def match(kinds: Iterable[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> Webhooks:
    """Return the webhooks that match pairs of project and event type, from the rows of their subscriptions."""
    subscribed: dict[tuple[str, str], list[str]] = {}
    keys_of: dict[str, Sequence[Any]] = {}
    generations: dict[str, int] = {}
    concurrency: dict[str, int] = {}
    rate_limits: dict[str, str] = {}
    templates: dict[str, str] = {}
    filters: dict[str, Compiled] = {}
    free: dict[str, bool] = {}
    for (
        project,
        pattern,
        webhook,
        generation,
        filter_text,
        most,
        rate_limit,
        template,
        is_free,
        is_enabled,
        *keys,
    ) in rows:
        generations[webhook] = generation
        subscribed.setdefault((project, pattern), []).append(webhook)
        if filter_text is not None:
            filters[webhook] = compiled(filter_text)
        if most is not None:
            concurrency[webhook] = most
        if rate_limit is not None:
            rate_limits[webhook] = rate_limit
        if template is not None:
            templates[webhook] = template
        if is_free is not None:
            free[webhook] = bool(is_free)
        if is_enabled:
            keys_of[webhook] = keys
    matching = {
        (project, kind): tuple(
            dict.fromkeys(
                webhook for pattern in patterns_for(kind) for webhook in subscribed.get((project, pattern), ())
            )
        )
        for project, kind in kinds
    }
    return Webhooks(matching, keys_of, generations, concurrency, rate_limits, templates, filters, free)
