"""A list that was asked for a type that is not there: refused with a suggestion, in place of an empty one."""

from __future__ import annotations

from ..rules.event_types import check_listed
from ..settings.schema import Settings


def refuse_unlisted(settings: Settings, event_type: str, name: str) -> None:
    """Raise `Refused` for a type or family outside the catalogue, which no event has; `name` is its parameter's."""
    check_listed(event_type, name, settings.events.extra_types)
