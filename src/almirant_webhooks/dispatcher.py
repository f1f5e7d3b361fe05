"""The loop: record, claim, fan out, send.

One transaction does the first three for all that has gathered. Attempts run beside it, and while it is committed those that
it began are prepared and the next group is chosen.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import structlog

from . import clock
from .agenda import Agenda
from .db.group import Group, Written, write
from .db.worker import Worker
from .fairness import Shares
from .grouping import HURRIED_MOST, Grouping
from .inbox import Inbox
from .metrics import Metrics
from .model import Claim, Outcome, Result
from .ours import INTERNAL, by_our_fault
from .outage import Outage
from .reports import report, report_trouble
from .retry import Schedule
from .troubles import PAUSE, Troubles
from .turn import Commit, Stale, Turn

LOOK_AGAIN = 2.0  # seconds at most until the clock is read again, so that one that was set is noticed
RECORD_WITHIN = 0.75  # seconds that a stop waits for the last records
STEP = "claim and record"
GAP = 0.002  # seconds between small groups in which a producer gets the file's lock: SQLite lets nobody queue for it

log = structlog.get_logger("almirant_webhooks")


class Sends(Protocol):
    """What makes the request of a claim."""

    async def send(self, claim: Claim, go: Callable[[], Awaitable[object]]) -> Result:
        """Make one request, once `go` has returned; never raises for what a receiver did."""


class Dispatcher:
    """Begins what is due and what is new, sends it, and records how it ended."""

    def __init__(
        self,
        database: Worker,
        sender: Sends,
        metrics: Metrics,
        troubles: Troubles,
        schedule: Schedule,
        shares: Shares,
        inbox: Inbox,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self.shares = shares
        self._keep_bodies = True
        self._database = database
        self._sender = sender
        self._metrics = metrics
        self._troubles = troubles
        self._schedule = schedule
        self._has_room = has_room
        self._wake = asyncio.Event()
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self._results: list[Result] = []
        self._outage = Outage()
        self._said_outage: str | None = None
        self._turns: dict[Turn, asyncio.Task[None]] = {}  # those under way
        self._failed: Exception | None = None
        self._look_again = False
        self._inbox = inbox
        inbox.arrived = self._wake.set
        self._grouping = Grouping(shares, inbox, self._outage, schedule)
        self._recorded = asyncio.Event()
        self._stopping = False
        self.agenda = Agenda(database, shares, schedule, self._wake.set)

    def failing(self) -> str | None:
        """Return the trouble while the database cannot be written: nothing is claimed then, as it could not be recorded."""
        return self._troubles.why(STEP)

    @property
    def outage(self) -> str | None:
        """The words for an outage of our own network while there is one: a single claim at a time probes it then."""
        return self._outage.why

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""
        return len(self._attempts)

    async def look(self) -> None:
        """Wake up if an admin or operator has changed something since the last look."""
        if self._turns:  # a group that is being written is in the way, and the look comes after it
            self._look_again = True
            return
        await self.agenda.look()

    def keep_bodies(self, keep: bool) -> None:
        """Store answers' bodies, or leave them out while there is little room on the disk."""
        self._keep_bodies = keep

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping = True
        self._wake.set()

    async def finish(self, limit: float) -> int:
        """Wait for what is in flight, `limit` seconds at most, and `RECORD_WITHIN` for its records; return what is left."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self._turns:  # a group that is being written may begin more
                    self._recorded.clear()
                    await self._recorded.wait()
                if self._attempts:
                    await asyncio.wait(self._attempts.values())
        left = list(self._attempts.values())
        for task in left:
            task.cancel()
        self._results += self._outage.give_up()
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(RECORD_WITHIN):
                while self._results or self._turns:
                    self._recorded.clear()
                    await self._recorded.wait()
        return len(left)

    async def run(self) -> None:
        """Record, claim and fan out, in groups: all that gathered while the last group was written."""
        while True:
            self._wake.clear()
            now = clock.now()
            self._note_outage(self._outage.look(len(self._attempts), time.monotonic()))
            try:
                if self._failed is not None:
                    error, self._failed = self._failed, None
                    raise error
                await self.agenda.mind_the_clock(now)
                full = not self._has_room()
                group = self._gather(now, full=full)
                # While failing a write that changes nothing tells whether that is over.
                worked = bool(group or self.failing())
                if worked:
                    await self._turn(group, now, full=full)
            except sqlite3.Error as error:
                await self._troubles.meet(STEP, error)
                continue
            if full:
                await self._troubles.meet_full(STEP)
            elif not worked:
                await self._rest(now)

    def _gather(self, now: datetime, *, full: bool) -> Group:
        """Take what the next group is; without room or in trouble it only records."""
        # An attempt that ended before the clock was set back must not wait by the old time.
        ended = [one if one.finished_at <= now else one._replace(finished_at=now) for one in self._results]
        self._results = []
        if full or self.failing():  # what room is left is for the records of what is in flight
            self._inbox.give_back()  # by the time that it is over the rows may be others
            return Group(ended, {}, [])
        group, self._results = self._grouping.choose(ended, now, in_flight=len(self._attempts), stopping=self._stopping)
        return group

    async def _turn(self, group: Group, now: datetime, *, full: bool) -> None:
        """Have a group written and prepare its attempts; a large one is committed, and they are made, while the next is chosen."""

        def work(conn: sqlite3.Connection) -> Written:
            return write(conn, group, self._schedule, now, copied_at=clock.now(), one_file=self._inbox.one_file)

        turn = Turn(group, work, before=next(reversed(self._turns), None))
        committing = self._turns[turn] = asyncio.create_task(self._commit(turn, full=full))
        committing.add_done_callback(self._meet_fault)
        written = await turn.written
        if written is not None:
            self._prepare(turn, written)
            if len(group.results) <= HURRIED_MOST:  # what comes meanwhile would wait for one more group
                await asyncio.wait([committing])
                if self._wake.is_set() and self._grouping.leaves_the_lock(time.monotonic()):
                    await asyncio.sleep(GAP)
            self.agenda.keep_up(written.revision, now)

    def _prepare(self, turn: Turn, written: Written) -> None:
        self.shares.update_due(written.touched, written.due)
        if written.fan_out:
            self._inbox.take(written.fan_out, time.monotonic())
        for claim in written.begun:
            self.shares.begin(claim.webhook_id)
            task = self._attempts[claim.delivery_id] = asyncio.create_task(self._attempt(claim, turn.commit))
            task.add_done_callback(self._meet_fault)
            turn.attempts.append((claim, task))
        if written.begun:
            self._outage.probing(time.monotonic())
        self._metrics.in_flight.set(len(self._attempts))

    async def _commit(self, turn: Turn, *, full: bool) -> None:
        try:
            written = await self._database.run_in_turn(turn.work, self._metrics.transaction)
        except Exception as error:
            self._undo(turn, error)
        else:
            self._confirm(turn, written, full=full)
        finally:
            turn.tell(None)
            del self._turns[turn]
            self._recorded.set()
            if self._look_again:
                self._wake.set()

    def _meet_fault(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._failed = error
            self._wake.set()

    def _confirm(self, turn: Turn, written: Written, *, full: bool) -> None:
        turn.commit.tell()
        if written.fan_out:
            self._inbox.confirm(written.fan_out)
        if not full:
            self._troubles.over(STEP)
        self._metrics.dropped.inc(written.dropped)
        report(turn.group.results, self._metrics, gone=written.gone)

    def _undo(self, turn: Turn, error: Exception) -> None:
        """Take back what was prepared for a group that was not committed; its results go into a later one."""
        for claim, attempt in turn.attempts:
            attempt.cancel()
            if self._attempts.get(claim.delivery_id) is attempt:
                del self._attempts[claim.delivery_id]
            self.shares.give_back(claim.webhook_id)
        self._metrics.in_flight.set(len(self._attempts))
        self._results = sorted((*turn.group.results, *self._results), key=lambda result: result.finished_at)
        self.agenda.doubt()  # what it said to be due may not be
        if isinstance(error, Stale):  # what failed before it was met there
            pass
        elif turn.group.rows and isinstance(error, sqlite3.Error):  # they may be what is wrong
            self._inbox.fail(error)
        else:
            self._failed = error
        self._wake.set()

    async def _attempt(self, claim: Claim, commit: Commit) -> None:
        try:
            result = await self._sender.send(claim, commit.done.wait)
        except (Exception, asyncio.CancelledError) as error:  # a fault of ours must not strand the delivery
            if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) and task.cancelling():
                raise
            result = by_our_fault(claim, error, clock.now())
            if result.cause == INTERNAL:
                log.exception("sender failed", delivery_id=claim.delivery_id)
        await commit.done.wait()  # what needs no request is refused before
        del self._attempts[claim.delivery_id]  # unless it was cancelled: whoever does that takes it out
        # Not the time to the answer's head: a body that drips holds its slot too.
        held_ms = round((time.monotonic() - commit.at) * 1000)
        if result.outcome is Outcome.INTERRUPTED:  # it tells nothing of the receiver
            self.shares.give_back(claim.webhook_id)
        else:
            self.shares.end(claim.webhook_id, timed_out=result.outcome is Outcome.TIMEOUT, duration_ms=held_ms)
        if not self._keep_bodies:
            result = result._replace(response_body=b"", body_cut=bool(result.response_body))
        self._note_outage(self._outage.meet(result, time.monotonic()))
        self._wake.set()

    def _note_outage(self, ended: list[Result]) -> None:
        """Take over what can be recorded, and say once when an outage has begun and once when it is over."""
        self._results += ended
        self._said_outage = report_trouble(self._said_outage, self.outage)

    async def _rest(self, now: datetime) -> None:
        """Wait for the first of: woken, next due time, time to look at the clock again."""
        if self._look_again:
            self._look_again = False
            with suppress(sqlite3.Error):  # the steps themselves meet it, and say so
                await self.look()
        next_due = self.shares.next_due()
        if next_due is None or self._stopping:
            seconds = LOOK_AGAIN
        elif next_due <= clock.text(now):  # due, but its half of the slots is full: a freed one wakes us
            seconds = PAUSE
        else:
            seconds = min(clock.seconds_until(next_due, now) + 0.001, LOOK_AGAIN)
        look = self._outage.next_look(time.monotonic())
        seconds = seconds if look is None else min(seconds, look)
        rows = None if self._stopping else self._inbox.next_look()
        seconds = seconds if rows is None else min(seconds, max(0.0, rows - time.monotonic()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
