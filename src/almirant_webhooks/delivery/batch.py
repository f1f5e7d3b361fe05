"""Choosing batches: which results are recorded, what begins of what is due, and how many rows of the outbox are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..model import Result
from ..rules.retry import Schedule
from ..storage.engine import Asked, OutboxRow, StorageError, Work
from .health import PAUSE, Troubles
from .network import Outage
from .outbox_reader import WORTH, OutboxReader
from .pace import Pace
from .scheduler import Room, Scheduler

FAN_OUT = "fan out"


class Batch(NamedTuple):
    """One transaction that is chosen: its work, and the slots that it gives away."""

    number: int
    work: Work
    asked: Asked | None  # the rows that it was to read, if any
    begun_at: float  # monotonic seconds


class Chooser:
    """Chooses by what the scheduler, the outbox's reader, the network and the pace know; in the delivery thread alone."""

    def __init__(
        self,
        scheduler: Scheduler,
        reader: OutboxReader,
        network: Outage,
        pace: Pace,
        troubles: Troubles,
        schedule: Schedule,
    ) -> None:
        self._scheduler = scheduler
        self._reader = reader
        self._network = network
        self._pace = pace
        self._troubles = troubles
        self._at_once = not schedule.waits[0]  # new deliveries begin with their insertion
        self._number = 0  # of the last batch

    def choose(self, waiting: Sequence[Result], now: datetime, at: float, *, may_begin: bool) -> Batch:
        """Return the next batch at a monotonic time; `waiting` are results to record, in the order in which they came."""
        most = self._pace.most(at)
        self._number += 1
        results = waiting[: 2 * most]
        if not may_begin:
            return Batch(self._number, Work(results), None, at)
        # As many fewer begin as more results wait than a batch records.
        wanted, room = self._wanted(now, max(0, min(most, 2 * most - len(waiting))), at)
        asked = self._asked(room, wanted, most, at, anyway=bool(results or wanted))
        rows = self._read(asked) if asked is not None and not self._reader.is_in_database else None
        asked = asked if rows is not None or self._reader.is_in_database else None
        text = clock.text(now)

        def take(webhook: str, served: bool) -> bool:
            return room is not None and self._at_once and room.take_new(webhook, text, served=served)

        inside = asked if self._reader.is_in_database else None
        return Batch(self._number, Work(results, wanted, rows or (), inside, take, max(2 * most, WORTH)), asked, at)

    def _asked(
        self, room: Room | None, wanted: Mapping[str, int], most: int, at: float, *, anyway: bool
    ) -> Asked | None:
        slots = self._scheduler.of_projects

        def free(project: str) -> int | None:
            return slots.free(project, wanted) if self._at_once else None  # else no row takes a slot

        try:
            return self._reader.asked(room.left if room else 0, most, at, anyway=anyway, slots=free)
        except StorageError as error:  # an application's trigger keeps too many rows from being marked
            self._troubles.fail(FAN_OUT, error)
            self._reader.pause(PAUSE)
            return None

    def _read(self, asked: Asked) -> list[OutboxRow] | None:
        """Read rows of an outbox apart from the database; what is wrong with it is in no claim's way."""
        if not self._reader.has_room():
            self._troubles.fail_full(FAN_OUT)
            self._reader.pause(PAUSE)
            return None
        try:
            rows = self._reader.read(asked)
        except StorageError as error:
            self._troubles.fail(FAN_OUT, error)
            self._reader.pause(PAUSE)
            return None
        if rows is not None and not self._reader.has_marks:
            self._troubles.clear(FAN_OUT)
        return rows

    def _wanted(self, now: datetime, most: int, at: float) -> tuple[dict[str, int], Room | None]:
        """Return what may begin of what is due, and the slots that are left for what is new: none in an outage."""
        text, in_flight = clock.text(now), self._scheduler.in_flight.total()
        lost = self._network.lost
        if lost:
            others = self._scheduler.share_out(text, Room(self._scheduler, most), apart_from=lost)
            if others:
                return dict.fromkeys(others, 1), None
        room = Room(self._scheduler, self._network.room(most, in_flight, at))
        wanted = self._scheduler.share_out(text, room)
        return wanted, None if lost or self._network.has_new_wait else room
