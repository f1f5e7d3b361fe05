"""The filters of the lists, which live in the URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from ...rules import selection


@dataclass(frozen=True, slots=True)
class Typed:
    """What the URL has for each filter, as it was typed."""

    values: Mapping[str, str]
    hidden: Sequence[str] = ()

    def __getattr__(self, name: str) -> str:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def any(self) -> bool:
        """Whether any filter is set."""
        return any(self.values.values())

    @property
    def more(self) -> bool:
        """Whether one is set that is folded away."""
        return any(self.values[name] for name in self.hidden)

    def url(self, path: str, **more: str) -> str:
        """Return the path with these filters, and others of the page."""
        query = urlencode({name: value for name, value in {**self.values, **more}.items() if value})
        return f"{path}?{query}" if query else path


def typed(query: Mapping[str, str], names: Sequence[str], hidden: Sequence[str] = ()) -> Typed:
    """Read filters from a query; none is longer than any value that it could match."""
    return Typed({name: query.get(name, "").strip()[:300] for name in names}, hidden)


def moment(text: str, now: datetime) -> datetime | None:
    """Read a time, or how long ago it was; raises `Refused` with a sentence."""
    return selection.moment(text, "since", now) if text else None


def chosen(filters: Typed, now: datetime) -> dict[str, Any]:
    """Return the filters of deliveries that are set, as `storage/sqlite` takes them; raises `Refused` for one that means nothing."""
    names = ("state", "status", "event_type", "event_id", "cause", "since", "until")
    return selection.read({**{name: filters.values[name] for name in names}, "q": filters.values.get("text")}, now)
