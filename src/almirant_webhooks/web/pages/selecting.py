"""What the lists select, which is in the URL as it was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from ...rules.selection import AuditSelection, EventSelection, Selection
from . import naming


@dataclass(frozen=True, slots=True)
class Typed:
    """What the URL has by each name, as it was typed; `hidden` are names whose fields are folded away."""

    values: Mapping[str, str]
    hidden: Sequence[str] = ()

    def __getattr__(self, name: str) -> str:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def any(self) -> bool:
        """Whether anything is typed."""
        return any(self.values.values())

    @property
    def more(self) -> bool:
        """Whether anything is typed into a field that is folded away."""
        return any(self.values[name] for name in self.hidden)

    def url(self, path: str, **more: str) -> str:
        """Return the path with all that is typed, and others of the page."""
        query = urlencode({name: value for name, value in {**self.values, **more}.items() if value})
        return f"{path}?{query}" if query else path


def typed(params: Mapping[str, str], names: Sequence[str], hidden: Sequence[str] = ()) -> Typed:
    """Read what was typed from a query or a form."""
    return Typed({name: params.get(name, "").strip() for name in names}, hidden)


def deliveries(typed: Typed, now: datetime) -> Selection:
    """Return which deliveries were typed; raises `Refused` for what means nothing."""
    return Selection.parse(_texts(typed, DELIVERIES), now, _in_words(DELIVERIES))


def events(typed: Typed, now: datetime) -> EventSelection:
    """Return which events were typed; raises `Refused` for what means nothing."""
    return EventSelection.parse(_texts(typed, EVENTS), now, _in_words(EVENTS))


def entries(typed: Typed, now: datetime) -> AuditSelection:
    """Return which entries of the audit trail were typed; raises `Refused` for what means nothing."""
    return AuditSelection.parse(_texts(typed, ENTRIES), now, _in_words(ENTRIES))


def _texts(typed: Typed, names: Mapping[str, str]) -> dict[str, str | None]:
    return {field: typed.values.get(name) or None for field, name in names.items()}


def _in_words(names: Mapping[str, str]) -> dict[str, str]:
    """Return what sentences call each field: nobody who reads a page knows its parameters."""
    return {field: naming.field(name) for field, name in names.items()}


# The parameter of each field.
DELIVERIES = {
    "state": "state",
    "status": "status",
    "event_type": "event_type",
    "since": "since",
    "until": "until",
    "cause": "cause",
    "event_id": "event_id",
    "text": "text",
    "test": "test",
    "project_id": "project",
    "webhook_id": "webhook",
}
EVENTS = {"project_id": "project", "event_type": "event_type", "since": "since", "until": "until"}
ENTRIES = {"project_id": "project", "webhook_id": "webhook", "action": "action", "since": "since", "until": "until"}
