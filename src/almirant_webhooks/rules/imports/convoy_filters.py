"""Which of its events a subscription of Convoy gets: by a filter for each event type."""

from __future__ import annotations

import json
from typing import NamedTuple

from . import their_filters
from .document import Node
from .plan import MAX_ID, Planned, items_of

_SCOPES = ("body", "headers", "query", "path")


class Share(NamedTuple):
    """Event types of a subscription that have the same filter: a webhook is made of each share.

    `suffix` tells those of a subscription apart, and is empty where there is one. `differs` is empty, or says why events
    would go elsewhere than there.
    """

    suffix: str
    types: tuple[str, ...]
    filter: Node | None
    differs: str = ""


def shares(subscription: Node) -> list[Share]:
    """Return the shares of a subscription; none where all of its event types are off."""
    filters = subscription.get("filters")
    if filters is None:
        return [_by_its_own(subscription)]
    groups: dict[str, tuple[list[str], Node]] = {}
    for row in items_of(filters, "data", "content"):
        event_type = row.need("event_type").text(MAX_ID)
        if row.is_null("enabled_at"):
            continue
        key = json.dumps([row.value.get(scope) or {} for scope in _SCOPES], sort_keys=True)
        groups.setdefault(key, ([], row))[0].append(event_type)
    if len(groups) == 1:
        return [Share("", tuple(types), row) for types, row in groups.values()]
    differs = ""
    if any("*" in types for types, _ in groups.values()):
        differs = (
            "Its filter for * is not asked there about types that have one of their own; here all that match send."
        )
    return [Share(f"/{min(types)}", tuple(types), row, differs) for types, row in groups.values()]


def _by_its_own(subscription: Node) -> Share:
    config = subscription.get("filter_config")
    types = None if config is None else config.get("event_types")
    return Share(
        "",
        types.texts() if types is not None and types.items() else ("*",),
        None if config is None else config.get("filter"),
        "The file lacks its filters by event type: add the answer of GET …/subscriptions/ID/filters as filters.",
    )


def set_filter(made: Planned, filter_: Node) -> None:
    """Give a webhook the conditions of a filter; what none says has it made disabled."""
    for scope in _SCOPES[1:]:
        if filter_.has(scope):
            made.differs.append(f"Its filter has {scope}, and events have none here.")
    if not filter_.has("body"):
        return
    body = filter_.need("body")
    try:
        found = their_filters.conditions(body.value if body.is_object else {}, "data")
    except their_filters.NoEqual as error:
        made.differs.append(f"Its filter has {error}, which no condition says here; write a filter, and enable it.")
        return
    made.options["filter"] = found
    if their_filters.has_plain_value(found):
        made.lost.append(their_filters.PLAIN_VALUE)
