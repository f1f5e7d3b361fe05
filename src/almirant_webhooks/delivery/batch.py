"""Chooses a batch: the results to record, the attempts to begin, and the rows of the outbox to read."""

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
from .outbox_reader import OutboxReader
from .pace import LEAST, Pace
from .scheduler import Scheduler, Slots

FAN_OUT = "fan out"
LEAST_DELIVERIES = 32  # that one batch may make, however little time it has


class Batch(NamedTuple):
    """The work of one transaction."""

    work: Work
    to_read: ReadPlan | None  # the rows of the outbox to read, if any
    is_brief: bool = False  # it only reads a few rows, and records, within the gap that is left to producers


class Chooser:
    """Chooses by the state of scheduler, outbox reader, network and pace. It runs in the delivery thread alone."""

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

    def choose(self, waiting: Sequence[Result], now: datetime, at: float, *, may_begin: bool) -> Batch:
        """Return the next batch.

        `waiting` are the results to record, oldest first. `at` is in monotonic seconds. Without `may_begin` the batch only
        records. Within a gap that is left to producers it begins nothing that is due.
        """
        self._scheduler.advance(at)
        is_brief = may_begin and self.may_be_brief(at)
        limit = LEAST if is_brief else self._pace.limit(at)
        results = waiting[: 2 * limit]
        if not may_begin:
            return Batch(Work(results), None)
        # Results beyond what one batch records reduce the number of attempts that begin.
        at_most = limit if is_brief else max(0, min(limit, 2 * limit - len(waiting)))
        starts, slots_left = self._starts(now, at_most, at, due=not is_brief)
        plan = self._plan_read(slots_left, starts, limit, at, anyway=bool(results or starts))
        rows = self._read(plan) if plan is not None and not self._reader.is_in_database else None
        plan = plan if rows is not None or self._reader.is_in_database else None
        text = clock.text(now)

        def take_slot(webhook: str, served: bool) -> bool:
            return slots_left is not None and self._at_once and slots_left.take_new(webhook, text, served=served)

        inside = plan if self._reader.is_in_database else None
        scheduler = self._scheduler
        work = Work(
            results,
            starts,
            rows or (),
            inside,
            take_slot,
            max_deliveries=max(2 * limit, LEAST_DELIVERIES),
            in_flight=scheduler.in_flight,
            concurrency=scheduler.concurrency_of,
            per_webhook=scheduler.per_webhook,
            places=scheduler.rates.places_under,
        )
        return Batch(work, plan, is_brief)

    def may_be_brief(self, at: float) -> bool:
        """Return whether a brief batch may begin: within a gap, once there are news and a free slot."""
        reader, scheduler, network = self._reader, self._scheduler, self._network
        if not (reader.is_in_database and self._at_once and self._pace.gap(at) > 0 and self._pace.may_be_brief):
            return False
        is_free = scheduler.in_flight.total() < scheduler.concurrency and reader.deliveries_per_row <= LEAST
        return reader.has_news(at) and is_free and not (network.webhooks_to_skip or network.new_must_wait)

    def _plan_read(
        self, slots_left: Slots | None, starts: Mapping[str, int], max_rows: int, at: float, *, anyway: bool
    ) -> ReadPlan | None:
        slots = self._scheduler.project_slots

        def free(project: str) -> int | None:
            return slots.free(project, starts) if self._at_once else None  # else no row takes a slot

        try:
            left = slots_left.left if slots_left else 0
            return self._reader.plan_read(left, max_rows, at, anyway=anyway, slots=free)
        except StorageError as error:  # a trigger of the application's refuses the marks of too many rows
            self._health.fail(FAN_OUT, error)
            self._reader.pause(PAUSE)
            return None

    def _read(self, plan: ReadPlan) -> list[OutboxRow] | None:
        """Read rows of an outbox in a file of its own; None if that failed, which delays no claim."""
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

    def _starts(self, now: datetime, limit: int, at: float, *, due: bool) -> tuple[dict[str, int], Slots | None]:
        """Return how many attempts each webhook may begin, none unless `due`, and the slots left for new deliveries (None in an outage)."""
        text, in_flight = clock.text(now), self._scheduler.in_flight.total()
        lost = self._network.webhooks_to_skip
        if lost:
            untried = self._scheduler.allocate(text, Slots(self._scheduler, limit), excluding=lost)
            if untried:
                return dict.fromkeys(untried, 1), None
        slots_left = Slots(self._scheduler, self._network.allowed_starts(limit, in_flight, at))
        starts = self._scheduler.allocate(text, slots_left) if due else {}
        return starts, None if lost or self._network.new_must_wait else slots_left
