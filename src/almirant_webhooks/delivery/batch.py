"""Choosing batches: which results are recorded, what begins of what is due, and how many rows of the outbox are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..model import Result
from ..rules.retry import Schedule
from ..storage.engine import OutboxRow, ReadPlan, StorageError, Work
from .health import PAUSE, Health
from .network import Outage
from .outbox_reader import ENOUGH_SLOTS, OutboxReader
from .pace import Pace
from .scheduler import Scheduler, Slots

FAN_OUT = "fan out"


class Batch(NamedTuple):
    """One transaction that is chosen: its work, and the slots that it gives away."""

    number: int
    work: Work
    to_read: ReadPlan | None  # the rows that it was to read, if any


class Chooser:
    """Chooses by what the scheduler, the outbox's reader, the network and the pace know; in the delivery thread alone."""

    def __init__(
        self,
        scheduler: Scheduler,
        reader: OutboxReader,
        network: Outage,
        pace: Pace,
        health: Health,
        schedule: Schedule,
    ) -> None:
        self._scheduler = scheduler
        self._reader = reader
        self._network = network
        self._pace = pace
        self._health = health
        self._at_once = not schedule.waits[0]  # new deliveries begin with their insertion
        self._number = 0  # of the last batch

    def choose(self, waiting: Sequence[Result], now: datetime, at: float, *, may_begin: bool) -> Batch:
        """Return the next batch at a monotonic time; `waiting` are results to record, in the order in which they came."""
        limit = self._pace.limit(at)
        self._number += 1
        results = waiting[: 2 * limit]
        if not may_begin:
            return Batch(self._number, Work(results), None)
        # As many fewer begin as more results wait than a batch records.
        starts, slots_left = self._starts(now, max(0, min(limit, 2 * limit - len(waiting))), at)
        plan = self._plan_read(slots_left, starts, limit, at, anyway=bool(results or starts))
        rows = self._read(plan) if plan is not None and not self._reader.is_in_database else None
        plan = plan if rows is not None or self._reader.is_in_database else None
        text = clock.text(now)

        def take_slot(webhook: str, served: bool) -> bool:
            return slots_left is not None and self._at_once and slots_left.take_new(webhook, text, served=served)

        inside = plan if self._reader.is_in_database else None
        max_deliveries, in_flight = max(2 * limit, ENOUGH_SLOTS), self._scheduler.in_flight
        work = Work(results, starts, rows or (), inside, take_slot, max_deliveries, in_flight)
        return Batch(self._number, work, plan)

    def _plan_read(
        self, slots_left: Slots | None, starts: Mapping[str, int], max_rows: int, at: float, *, anyway: bool
    ) -> ReadPlan | None:
        slots = self._scheduler.project_slots

        def free(project: str) -> int | None:
            return slots.free(project, starts) if self._at_once else None  # else no row takes a slot

        try:
            return self._reader.plan_read(slots_left.left if slots_left else 0, max_rows, at, anyway=anyway, slots=free)
        except StorageError as error:  # an application's trigger keeps too many rows from being marked
            self._health.fail(FAN_OUT, error)
            self._reader.pause(PAUSE)
            return None

    def _read(self, plan: ReadPlan) -> list[OutboxRow] | None:
        """Read rows of an outbox apart from the database; what is wrong with it is in no claim's way."""
        if not self._reader.has_free_space():
            self._health.fail_disk_full(FAN_OUT)
            self._reader.pause(PAUSE)
            return None
        try:
            rows = self._reader.read(plan)
        except StorageError as error:
            self._health.fail(FAN_OUT, error)
            self._reader.pause(PAUSE)
            return None
        if rows is not None and not self._reader.has_marks:
            self._health.clear(FAN_OUT)
        return rows

    def _starts(self, now: datetime, limit: int, at: float) -> tuple[dict[str, int], Slots | None]:
        """Return what may begin of what is due, and the slots that are left for what is new: none in an outage."""
        text, in_flight = clock.text(now), self._scheduler.in_flight.total()
        lost = self._network.webhooks_to_skip
        if lost:
            untried = self._scheduler.allocate(text, Slots(self._scheduler, limit), excluding=lost)
            if untried:
                return dict.fromkeys(untried, 1), None
        slots_left = Slots(self._scheduler, self._network.allowed_starts(limit, in_flight, at))
        starts = self._scheduler.allocate(text, slots_left)
        return starts, None if lost or self._network.new_must_wait else slots_left
