"""Replays: which kept events a webhook is sent, and how far back one reaches (contract, section 4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self, TypedDict

from .. import clock
from ..model import Refused
from . import values
from .event_types import check_pattern, patterns_for
from .texts import Text

NOTHING = Text(
    "No kept event of that time matches and is without a delivery for this webhook; there is nothing to replay."
)


class ReplayCount(TypedDict):
    """How many events a replay would send to a webhook; times are texts of UTC.

    It begins at `since`. `reaches_back_to` is the time before which deliveries of this webhook may have been removed, so that
    nobody can tell what it lacks; None where it can be told of all that is kept.
    """

    webhook_id: str
    events: int
    erased: int  # events that match and have no content any more: they are skipped
    since: str
    reaches_back_to: str | None


@dataclass(frozen=True, slots=True)
class ReplaySelection:
    """Which events: those taken from `since` on and before `until`, of the types that `event` fits.

    None is no condition. With `include_cancelled` cancelled deliveries are sent again.
    """

    webhook_id: str
    since: datetime
    until: datetime | None = None
    event: str | None = None
    include_cancelled: bool = False

    @classmethod
    def parse(
        cls,
        webhook_id: str,
        *,
        since: str | None,
        until: str | None = None,
        event: str | None = None,
        include_cancelled: bool = False,
        names: Mapping[str, str] | None = None,
        now: datetime,
    ) -> Self:
        """Parse what people wrote; a time such as `2h` is counted back from `now`.

        Raises `Refused`, which names the wrong field as `names` has it.
        """
        name = {"since": "since", "until": "until", "event": "event", **(names or {})}
        if since is None:
            raise Refused(
                Text("Say since when events are replayed: a time, or 2h for the last two hours."), name["since"]
            )
        begin = values.time(values.line(since, name["since"]), name["since"], now)
        end = None if until is None else values.time(values.line(until, name["until"]), name["until"], now)
        if end is not None and end <= begin:
            raise Refused(Text("The end of a replay must be later than its begin."), name["until"])
        pattern = None if event is None else values.line(event, name["event"])
        return cls(webhook_id, begin, end, pattern, include_cancelled)

    def check_event(self, extra: Collection[str], project_id: str) -> None:
        """Raise `Refused` with a suggestion for an `event` that fits no type of the project's catalogue."""
        if self.event is not None:
            try:
                check_pattern(self.event, extra, project_id)
            except Refused as refused:
                raise Refused(refused.message, "event") from None

    def dump(self) -> dict[str, str]:
        """Return the conditions as texts, as people are shown them."""
        texts = {"webhook_id": self.webhook_id, "since": clock.text(self.since)}
        texts |= {"until": clock.text(self.until)} if self.until is not None else {}
        texts |= {"event": self.event} if self.event is not None else {}
        return texts | ({"include_cancelled": "true"} if self.include_cancelled else {})

    @classmethod
    def load(cls, stored: Mapping[str, str]) -> Self:
        """Return the selection that `dump` has written."""
        until = stored.get("until")
        return cls(
            stored["webhook_id"],
            clock.parse(stored["since"]),
            None if until is None else clock.parse(until),
            stored.get("event"),
            "include_cancelled" in stored,
        )

    def matches(self, event_type: str, subscriptions: Collection[str]) -> bool:
        """Tell whether a webhook with these subscriptions is sent events of a type."""
        patterns = patterns_for(event_type)
        return not set(patterns).isdisjoint(subscriptions) and (self.event is None or self.event in patterns)


def reach(created_at: str, now: datetime, kept: timedelta, pruned_before: str) -> str:
    """Return from when on no delivery of a webhook can have been removed, empty for one that is younger than that.

    `kept` is the shorter of the times that deliveries are kept, and `pruned_before` up to when some were removed already,
    by settings of then. Times are texts.
    """
    removed = max(clock.text(now - kept), pruned_before)
    return removed if created_at < removed else ""


def kept_until(created_at: str, succeeded: timedelta, bodies: timedelta | None) -> str:
    """Return until when an event is kept at least, with its content, that was taken at a time.

    That is as long as `retention.succeeded`, or `retention.bodies` where that is given and shorter.
    """
    kept = succeeded if bodies is None else min(succeeded, bodies)
    return clock.text(clock.parse(created_at) + kept)
