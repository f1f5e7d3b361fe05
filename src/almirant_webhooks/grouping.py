"""What the next group is: the results that it records, the attempts that it begins, and the rows that it fans out."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from . import clock
from .db.group import Group
from .db.unread import FEW
from .fairness import Room, Shares
from .inbox import WORTH, Inbox
from .model import Result
from .outage import Outage
from .retry import Schedule

CLAIM_MOST = 128  # a larger group costs less for each, and keeps what is new waiting longer
HURRIED_MOST = 32  # so many while few events come and a long backlog is worked off
HURRY = 1.0  # seconds


class Grouping:
    """Chooses groups: large ones, but a few rows that came meanwhile go first, alone, and then groups are small for a while."""

    def __init__(self, shares: Shares, inbox: Inbox, outage: Outage, schedule: Schedule) -> None:
        self._shares = shares
        self._inbox = inbox
        self._outage = outage
        self._at_once = not schedule.waits[0]
        self._went_first = False
        self._hurried_at = 0.0
        self._few_came_at = -HURRY

    def leaves_the_lock(self, at: float) -> bool:
        """Tell whether a producer may be waiting for the file's lock at a monotonic time: one that has few was there lately."""
        return self._inbox.one_file and not self._inbox.few and at <= self._few_came_at + HURRY

    def choose(
        self, ended: list[Result], now: datetime, *, in_flight: int, stopping: bool
    ) -> tuple[Group, list[Result]]:
        """Return the next group, and the results that are left for the one after it."""
        at = time.monotonic()
        most = CLAIM_MOST if at > self._hurried_at + HURRY else HURRIED_MOST
        # Groups that go first record nothing: so many fewer begin as more results wait than a group records.
        may_begin = max(0, min(most, 2 * most - len(ended)))
        wanted, room = ({}, None) if stopping else self._wanted(now, may_begin, in_flight, at)
        is_large = len(ended) + sum(wanted.values()) > FEW
        self._went_first = is_large and bool(self._inbox.few) and room is not None and not self._went_first
        if self._went_first:
            self._hurried_at = at
            wanted, room, most = {}, Room(self._shares, FEW), 0
        free = room.left if room else 0
        rows = [] if stopping else self._inbox.ready(free, at, first=self._went_first)
        if any(row.is_of_few for row in rows):
            self._few_came_at = at
        return Group(ended[:most], wanted, rows, self._for_new(room, now), max(free, WORTH)), ended[most:]

    def _wanted(self, now: datetime, most: int, in_flight: int, at: float) -> tuple[dict[str, int], Room | None]:
        """Return what may begin of what is due, and the room that is left for what is new: none in an outage."""
        lost = self._outage.lost
        if lost:
            others = self._shares.share_out(clock.text(now), Room(self._shares, most), apart_from=lost)
            if others:
                return dict.fromkeys(others, 1), None
        room = Room(self._shares, self._outage.room(most, in_flight, at))
        wanted = self._shares.share_out(clock.text(now), room)
        return wanted, None if lost or self._outage.has_new_wait else room

    def _for_new(self, room: Room | None, now: datetime) -> Callable[[str, bool], bool]:
        """Return what gives slots to new deliveries: none where the schedule has them wait."""
        written = clock.text(now)
        if room is None or not self._at_once:
            return lambda webhook, served: False
        return lambda webhook, served: room.take_new(webhook, written, served=served)
