"""The steps of the daemon, whose clock may be set back and which may be killed between any two of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, Outcome, Result, Trigger
from almirant_webhooks.storage.engine import OutboxRow, ReadPlan
from almirant_webhooks.storage.sql import (
    claiming,
    deliveries,
    disabling,
    fanout,
    held,
    resend_steps,
    results,
    waits,
)

from ...support.steps import SCHEDULE, transaction
from .people import KEPT, People

DISABLE_AFTER = timedelta(hours=2)
COUNTED = (Outcome.HTTP_ERROR, Outcome.TIMEOUT, Outcome.CONNECTION_ERROR, Outcome.BLOCKED)


class Daemon(People):
    """What the daemon does, a step at a time, beside what people do."""

    @precondition(lambda self: self.replays)
    @rule(failing=st.booleans())
    def advance_replays(self, failing: bool) -> None:
        """A step whose transaction fails is made again; what a replay makes is what it was asked for."""
        if failing:
            with suppress(ZeroDivisionError), transaction(self.conn):
                self.take_step()
                raise ZeroDivisionError
        with transaction(self.conn):
            finished = self.take_step()
        for webhook, events in self.replays.values():
            made = {
                row[0] for row in self.conn.execute("SELECT event_id FROM deliveries WHERE webhook_id = ?", (webhook,))
            }
            for event in made & events:
                self.acknowledged[event].add(webhook)
            oldest_first = sorted(self.taken, key=lambda event: self.taken[event])
            self.places.give(webhook, [event for event in oldest_first if event in made])
        for replay in finished:
            webhook, events = self.replays.pop(replay, ("", set()))
            wanted = {
                event
                for event in events
                if all(self.lets_through(above, event) for above in self.filters_since.get(replay, ()))
            }
            assert all(webhook in self.acknowledged[event] for event in wanted), "a replay has left an event out"

    def take_step(self) -> list[str]:
        return resend_steps.step(self.conn, self.now, kept=KEPT).finished

    @rule(limit=st.integers(1, 5))
    def read_outbox(self, limit: int) -> None:
        self.read = self.read_unread(limit)
        self.done = None

    def read_unread(self, limit: int) -> list[OutboxRow]:
        return self.steps.unread(ReadPlan(limit))

    @precondition(lambda self: self.read and self.done is None)
    @rule(begin=st.booleans())
    def fan_out(self, begin: bool) -> None:
        """New deliveries wait, or begin with their insertion."""
        with transaction(self.conn):
            self.done = fanout.fan_out(
                self.conn,
                self.read,
                SCHEDULE.waits[0],
                self.now,
                lambda webhook: begin,
                allowance=self.limits.allowance(),
            )
        for answer in self.done.marks:
            event = str(answer.row.event_id)
            if event in self.waiting:
                self.waiting.discard(event)
                self.taken[event] = clock.text(self.now)
                through = {one for one in self.webhooks if self.lets_through(self.filters.get(one), event)}
                self.acknowledged[event] = through
                self.filtered_out |= {(event, one) for one in self.webhooks if one not in through}
                for webhook in through:
                    self.places.give(webhook, [event])
        self.send(self.done.claims)

    @precondition(lambda self: self.done is not None)
    @rule()
    def mark(self) -> None:
        assert self.done is not None
        self.steps.mark(self.done, self.now)
        self.read = self.done = None

    @rule()
    def take_all(self) -> None:
        """The three steps of the intake without a break."""
        self.read_outbox(100)
        if self.read:
            self.fan_out(False)
            self.mark()

    @precondition(lambda self: self.webhooks)
    @rule(count=st.integers(1, 4))
    def claim(self, count: int) -> None:
        """What is claimed is sent: the request leaves once the claim's transaction is over."""
        self.send(self.take(dict.fromkeys(self.webhooks, count)))

    def send(self, claims: Sequence[Claim]) -> None:
        for one in claims:
            assert one.webhook_id in self.webhooks, "claimed for a webhook that is deleted"
            assert self.webhooks[one.webhook_id], "claimed for a webhook that is disabled"
            assert one.delivery_id not in {other.delivery_id for other in self.in_flight}, "claimed twice at a time"
            scheduled = one.trigger is Trigger.SCHEDULED
            assert not scheduled or one.delivery_id not in self.discarded, "claimed though it was discarded"
            under_way = [*self.in_flight, *(result.claim for result in self.unrecorded)]
            self.places.check(self.conn, one, under_way)
            self.in_flight.append(one)
        self.limits.send(claims)
        self.requests += [(one.delivery_id, one.number, one.body) for one in claims]

    def take(self, wanted: dict[str, int]) -> list[Claim]:
        with transaction(self.conn):
            return claiming.claim(self.conn, wanted, self.now, allowance=self.limits.allowance())

    @precondition(lambda self: self.in_flight)
    @rule(outcome=st.sampled_from(Outcome), free=st.booleans())
    def end(self, outcome: Outcome, free: bool) -> None:
        one = self.in_flight.pop(0)
        self.reached[one.delivery_id] += outcome is Outcome.SUCCESS
        free = free and outcome is Outcome.INTERRUPTED
        self.unrecorded.append(Result(one, outcome, self.now, 5, status_code=200, free=free))

    @precondition(lambda self: self.unrecorded)
    @rule(failing=st.booleans())
    def record(self, failing: bool) -> None:
        """A transaction that fails after all was recorded is made again with the same results."""
        if failing:
            with suppress(ZeroDivisionError), transaction(self.conn):
                self.write_results(self.unrecorded)
                raise ZeroDivisionError
        with transaction(self.conn):
            self.write_results(self.unrecorded)
        self.unrecorded = []

    def write_results(self, group: Sequence[Result]) -> None:
        # As the loop does with what ended before the clock was set back.
        group = [one._replace(finished_at=min(one.finished_at, self.now)) for one in group]
        pending = self.pending()
        results.record(self.conn, group, SCHEDULE)
        given_up = pending - self.pending()
        for one in group:
            known = self.failures.setdefault(one.claim.webhook_id, [])
            if one.outcome is Outcome.SUCCESS:
                known.clear()
            elif one.claim.trigger is Trigger.SCHEDULED and one.outcome in COUNTED:
                known.append((clock.text(one.claim.started_at), one.claim.delivery_id in given_up))
        results.record(self.conn, group, SCHEDULE)  # a second time changes nothing

    def pending(self) -> set[str]:
        return {row[0] for row in self.conn.execute("SELECT id FROM deliveries WHERE state = 'pending'")}

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), succeeds=st.booleans())
    def be_down(self, data: st.DataObject, succeeds: bool) -> None:
        """A receiver that fails at everything until it is given up; its last answer may be a success."""
        webhook = data.draw(st.sampled_from(sorted(self.webhooks)))
        if self.webhooks[webhook] and not self.in_flight and not self.unrecorded:
            self.go_down(webhook, succeeds)

    def go_down(self, webhook: str, succeeds: bool) -> None:
        self.take_all()
        for wait in SCHEDULE.waits:
            self.now += wait
            self.limits.moment += wait.total_seconds()
            self.send(self.take({webhook: 4}))
            while self.in_flight:
                is_last = succeeds and wait is SCHEDULE.waits[-1] and len(self.in_flight) == 1
                self.end(Outcome.SUCCESS if is_last else Outcome.TIMEOUT, False)
            self.record(False)

    def end_all(self, outcome: Outcome) -> None:
        """End what is in flight, and record it."""
        while self.in_flight:
            self.end(outcome, False)
        if self.unrecorded:
            self.record(False)

    @rule()
    def disable_down(self) -> None:
        """The service disables exactly those that have failed everything for so long."""
        expected = set()
        for webhook, known in self.failures.items():
            begins = [clock.parse(at) for at, _ in known]
            is_long = bool(begins) and max(begins) - begins[0] >= DISABLE_AFTER
            if is_long and any(gave_up for _, gave_up in known) and self.webhooks.get(webhook):
                expected.add(webhook)
        with transaction(self.conn):
            done = disabling.disable_down(self.conn, DISABLE_AFTER, self.now)
        disabled = {change.webhook_id for change in done.webhooks}
        assert disabled == expected, "disabled though it has not failed everything for so long, or not though it has"
        self.webhooks |= dict.fromkeys(disabled, False)

    @rule()
    def prune(self) -> None:
        with transaction(self.conn):
            deliveries.erase_deleted(self.conn, 2)
            held.discard(self.conn, 2)
        self.steps.prune(self.now - timedelta(days=7), 2)

    @rule(back=st.sampled_from([timedelta(0), timedelta(minutes=1), timedelta(hours=1)]))
    def crash(self, back: timedelta) -> None:
        """What was in memory is gone: what is in flight, what was not recorded, what was read.

        And the clock may be set back until the next start.
        """
        self.in_flight, self.unrecorded = [], []
        self.limits.forget()
        self.restart()
        self.now -= back
        with transaction(self.conn):
            results.interrupt_open(self.conn, SCHEDULE, self.now)
            self.mind_the_clock()
        self.read_limits()

    def mind_the_clock(self) -> None:
        waits.shorten(self.conn, SCHEDULE.waits, self.now)

    @rule(wait=st.sampled_from([timedelta(seconds=1), *SCHEDULE.waits, timedelta(days=8)]))
    def go_on(self, wait: timedelta) -> None:
        self.now += wait
        self.limits.moment += wait.total_seconds()

    @rule(back=st.sampled_from([timedelta(minutes=1), timedelta(hours=1)]))
    def set_clock_back(self, back: timedelta) -> None:
        self.now -= back
        with transaction(self.conn):
            waits.shift_due(self.conn, back, self.now)
