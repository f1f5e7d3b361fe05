"""The filters of the lists, which live in the URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from ... import clock
from ...model import Refused


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
    if not text:
        return None
    try:
        return now - clock.duration(text)
    except OverflowError:
        raise Refused(f"{text!r} is too long ago.", "since") from None
    except ValueError:
        pass
    try:
        return clock.parse(text)
    except (ValueError, OverflowError) as error:
        raise Refused(f"{error}, or as how long ago: 2h.", "since") from None


def chosen(filters: Typed, now: datetime) -> dict[str, Any]:
    """Return the filters of deliveries as `db` takes them; raises `Refused` for a time that is none."""
    return {
        **{name: filters.values[name] or None for name in ("state", "event_type", "event_id", "cause")},
        "status": filters.values["status"].lower().replace("_", " ") or None,
        "since": moment(filters.values["since"], now),
        "until": moment(filters.values["until"], now),
        "q": filters.values.get("text") or None,
    }
