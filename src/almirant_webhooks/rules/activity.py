"""How attempts went in a span of time, for one webhook or all of a project: from counts by the time of their start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple, TypedDict

from .. import clock
from ..model import Outcome
from . import values

_CODES = frozenset(int(status) for status in HTTPStatus)


class Span(NamedTuple):
    """A span of time in parts of one length that are counted whole, the current one among them."""

    parts: int
    part: timedelta

    def begin(self, now: datetime) -> datetime:
        """Return when it begins: at the beginning of a part."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        return hour + (now - hour) // self.part * self.part - (self.parts - 1) * self.part

    @property
    def written(self) -> int:
        """How many characters of a time say which part it is in."""
        return len("2026-01-31T09") if self.part == timedelta(hours=1) else len("2026-01-31T09:35")


SPANS = {
    "1h": Span(12, timedelta(minutes=5)),
    "24h": Span(24, timedelta(hours=1)),
    "7d": Span(7 * 24, timedelta(hours=1)),
    "30d": Span(30 * 24, timedelta(hours=1)),
}
DEFAULT = "24h"


class CountedPart(TypedDict):
    """Attempts that began in one hour (`2026-01-31T09`) or in five minutes (`2026-01-31T09:35`).

    `duration_ms` is that of all of them together.
    """

    start: str
    succeeded: int
    failed: int
    duration_ms: int
    longest_ms: int


class Counted(TypedDict):
    """What an engine counts: parts that have attempts, oldest first, and attempts that failed by their status.

    `complete` is false where not all of those that failed were looked at.
    """

    parts: list[CountedPart]
    failures: dict[str, int]
    complete: bool


class ActivePart(TypedDict):
    """One part with attempts; times to the answer's head are in milliseconds."""

    start: str
    succeeded: int
    failed: int
    mean_ms: int
    longest_ms: int


class Activity(TypedDict):
    """Attempts from `since` on. `error_rate` is the share that failed, 0 to 1; None without attempts.

    `parts` are hours, and five minutes each of `1h`. `failures` are the attempts that failed, by their status;
    `failures_complete` is false where there are more than were looked at.
    """

    span: str
    since: str
    attempts: int
    succeeded: int
    failed: int
    error_rate: float | None
    mean_ms: int | None
    longest_ms: int | None
    failures: dict[str, int]
    failures_complete: bool
    parts: list[ActivePart]


def span_of(text: str, name: str) -> str:
    """Return one of the spans, or raise `Refused` with all of them."""
    return values.word(text, name, tuple(SPANS))


def counted_as(outcome: Outcome, status_code: int | None) -> str:
    """Return the status that an attempt which failed is counted by: as the log shows it.

    A code that HTTP does not know is its class (`5xx`), so that no receiver makes more of them than a page can show.
    """
    if status_code is None:
        return outcome.value.replace("_", " ")
    return str(status_code) if status_code in _CODES else f"{status_code // 100}xx"


def activity(counted: Counted, span: str, now: datetime) -> Activity:
    """Return what people are shown of the counts."""
    parts = counted["parts"]
    succeeded, failed = (sum(part["succeeded"] for part in parts), sum(part["failed"] for part in parts))
    attempts = succeeded + failed
    return {
        "span": span,
        "since": clock.text(SPANS[span].begin(now)),
        "attempts": attempts,
        "succeeded": succeeded,
        "failed": failed,
        "error_rate": round(failed / attempts, 4) if attempts else None,
        "mean_ms": round(sum(part["duration_ms"] for part in parts) / attempts) if attempts else None,
        "longest_ms": max(part["longest_ms"] for part in parts) if attempts else None,
        "failures": _commonest_first(counted["failures"]),
        "failures_complete": counted["complete"],
        "parts": [_part(part) for part in parts],
    }


def _part(part: CountedPart) -> ActivePart:
    attempts = max(part["succeeded"] + part["failed"], 1)
    return {
        "start": whole(part["start"]),
        "succeeded": part["succeeded"],
        "failed": part["failed"],
        "mean_ms": round(part["duration_ms"] / attempts),
        "longest_ms": part["longest_ms"],
    }


def whole(start: str) -> str:
    """Return the beginning of a part as the contract writes times."""
    return start + "T00:00:00.000Z"[len(start) - len("2026-01-31") :]


def _commonest_first(failures: Mapping[str, int]) -> dict[str, int]:
    pairs: Sequence[tuple[str, int]] = sorted(failures.items(), key=lambda pair: (-pair[1], pair[0]))
    return dict(pairs)
