"""A kill between any two steps: every order of steps that hypothesis can think of, on real files.

The model beside them is what a producer, a receiver and an admin know. The contract's invariants are held after every
step, and each seeded bug has to be found by them.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, NotFound, Outcome, Refused, Result, Trigger
from almirant_webhooks.rules import filters
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.storage.engine import FanOut, Mark, OutboxRow, ReadPlan
from almirant_webhooks.storage.sqlite import (
    claiming,
    deliveries,
    disabling,
    fanout,
    filtering,
    held,
    later_deliveries,
    outbox,
    rejected_rows,
    replays,
    resend_steps,
    resends,
    results,
    unread,
    waits,
    webhooks,
)
from almirant_webhooks.storage.sqlite.allowance import Allowance
from almirant_webhooks.storage.sqlite.connection import open_database, transaction
from almirant_webhooks.storage.sqlite.migrate import migrate

from ..support.steps import SCHEDULE, START
from .limits import LIMITS, Limits

TRIES = len(SCHEDULE.waits)
KEPT = timedelta(days=3650)
DISABLE_AFTER = timedelta(hours=2)
COUNTED = (Outcome.HTTP_ERROR, Outcome.TIMEOUT, Outcome.CONNECTION_ERROR, Outcome.BLOCKED)
OPTIONS = settings(
    max_examples=int(os.environ.get("FAULTS_EXAMPLES", "60")),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    database=None,
)


class Machine(RuleBasedStateMachine):
    """Two files, a clock that goes on, and what the world outside knows."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        # The same steps have to give the same ids, or hypothesis could not repeat what it found.
        dice = random.Random(0)
        self.known_ids = patch.object(secrets, "token_hex", lambda size: dice.randbytes(size).hex())
        self.known_ids.start()
        self.database, self.outbox_file = self.folder / "log.db", self.folder / "outbox.db"
        migrate(self.database, self.outbox_file)
        self.now = START
        self.acknowledged: dict[str, set[str]] = {}  # event → the webhooks there were when it was fanned out
        self.waiting: set[str] = set()  # acknowledged, and not fanned out yet
        self.ids: set[int] = set()
        self.webhooks: dict[str, bool] = {}  # webhook → enabled
        self.in_flight: list[Claim] = []
        self.requests: list[tuple[str, int, bytes]] = []  # what has left: delivery, number, bytes
        self.reached: Counter[str] = Counter()
        self.discarded: set[str] = set()
        self.unrecorded: list[Result] = []
        self.replays: dict[str, tuple[str, set[str]]] = {}  # replay under way → its webhook, and the events of its time
        # Of each webhook its counted failures since the last success or enabling: begin, and whether a delivery was given up.
        self.failures: dict[str, list[tuple[str, bool]]] = {}
        self.limits = Limits()
        self.filters: dict[str, int | None] = {}  # webhook → it gets what has a number above that
        self.filtered_out: set[tuple[str, str]] = set()  # event and webhook, as the filter was at the fan-out
        self.filters_since: dict[str, list[int | None]] = {}  # replay → the filters that its webhook has had since
        self.open()

    def open(self) -> None:
        self.conn = open_database(self.database)
        self.outbox = outbox.open_outbox(self.database, self.outbox_file)
        outbox.bind(self.outbox, *outbox.identity(self.conn))
        self.read: Any = None
        self.done: FanOut | None = None

    def teardown(self) -> None:
        self.conn.close()
        self.outbox.close()
        shutil.rmtree(self.folder)
        self.known_ids.stop()

    # Producers and admins

    @rule(number=st.integers(1, 10_000), rolled_back=st.booleans())
    def insert(self, number: int, rolled_back: bool) -> None:
        """Ids come in any order: a producer may give its own, and transactions overtake each other."""
        if number in self.ids:
            return
        event = f"e{number}"
        self.outbox.execute("BEGIN IMMEDIATE")
        self.outbox.execute(
            "INSERT INTO outbox (id, event_id, project_id, event_type, payload) VALUES (?, ?, 'p', 'lead.created', ?)",
            (number, event, f'{{"n": {number}}}'),
        )
        self.outbox.execute("ROLLBACK" if rolled_back else "COMMIT")
        if not rolled_back:
            self.ids.add(number)
            self.acknowledged[event] = set()
            self.waiting.add(event)

    @initialize()
    def begin(self) -> None:
        """Most steps need a webhook and an event."""
        self.create()
        self.create()
        self.insert(7, False)
        self.insert(3, False)

    @precondition(lambda self: len(self.webhooks) < 3)
    @rule()
    def create(self) -> None:
        with transaction(self.conn):
            made = webhooks.create(
                self.conn,
                project_id="p",
                url="https://example.com/in",
                events=["*"],
                secret="s" * 20,
                description="",
                limit=100,
                now=self.now,
            )
        self.webhooks[made.id] = True
        self.limits.limits[made.id] = None

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), discard=st.booleans())
    def switch(self, data: st.DataObject, discard: bool) -> None:
        webhook = data.draw(st.sampled_from(sorted(self.webhooks)))
        self.webhooks[webhook] = not self.webhooks[webhook]
        if self.webhooks[webhook]:
            self.failures[webhook] = []
        with transaction(self.conn):
            if self.webhooks[webhook]:
                if discard:
                    held_now = "SELECT delivery_id FROM delivery_log WHERE webhook_id = ? AND held = 1"
                    self.discarded |= {row[0] for row in self.conn.execute(held_now, (webhook,))}
                webhooks.enable(self.conn, webhook, discard_held=discard, now=self.now)
            else:
                webhooks.disable(self.conn, webhook, self.now)

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), limit=st.sampled_from(LIMITS))
    def set_rate_limit(self, data: st.DataObject, limit: str | None) -> None:
        webhook = data.draw(st.sampled_from(sorted(self.webhooks)))
        with transaction(self.conn):
            webhooks.update(self.conn, webhook, options={"rate_limit": limit}, now=self.now)
        self.limits.limits[webhook] = limit

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), above=st.sampled_from([None, 5, 5000]))
    def set_filter(self, data: st.DataObject, above: int | None) -> None:
        """It counts from the next fan-out on, and rewrites no verdict."""
        webhook = data.draw(st.sampled_from(sorted(self.webhooks)))
        filter_ = None if above is None else filters.check([f"data.n > {above}"])
        with transaction(self.conn):
            webhooks.update(self.conn, webhook, options={"filter": filter_}, now=self.now)
        self.filters[webhook] = above
        for replay, (replayed, _) in self.replays.items():
            if replayed == webhook:
                self.filters_since[replay].append(above)

    def lets_through(self, above: int | None, event: str) -> bool:
        return above is None or int(event.removeprefix("e")) > above

    @rule()
    def read_limits(self) -> None:
        """The daemon hears of a change; a batch may come before that."""
        self.limits.read(self.conn, self.now)

    @precondition(lambda self: len(self.webhooks) > 2)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        webhook = data.draw(st.sampled_from(sorted(self.webhooks)))
        with transaction(self.conn):
            webhooks.delete(self.conn, webhook, self.now)
        del self.webhooks[webhook]
        for wanted in self.acknowledged.values():
            wanted.discard(webhook)
        self.filtered_out = {(event, other) for event, other in self.filtered_out if other != webhook}
        self.replays = {replay: there for replay, there in self.replays.items() if there[0] != webhook}

    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        there = sorted({delivery_id for delivery_id, _, _ in self.requests})
        if there:
            with suppress(NotFound, Refused), transaction(self.conn):
                deliveries.request_resend(self.conn, data.draw(st.sampled_from(there)), self.now)

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), include_cancelled=st.booleans())
    def replay(self, data: st.DataObject, include_cancelled: bool) -> None:
        """All that was taken until now; what is in the future of a clock that was set back is not."""
        webhook = data.draw(st.sampled_from(sorted(self.webhooks)))
        selection = ReplaySelection(webhook, START - KEPT, include_cancelled=include_cancelled)
        events = self.conn.execute("SELECT id FROM events WHERE created_at <= ?", (clock.text(self.now),)).fetchall()
        with suppress(Refused), transaction(self.conn):
            counted = replays.count(self.conn, selection, now=self.now, kept=KEPT)
            replay = replays.start(self.conn, selection, counted, actor="operator", now=self.now)
            self.replays[replay] = (webhook, {row[0] for row in events})
            self.filters_since[replay] = [self.filters.get(webhook)]

    @precondition(lambda self: self.replays)
    @rule(data=st.data())
    def cancel_replay(self, data: st.DataObject) -> None:
        replay = data.draw(st.sampled_from(sorted(self.replays)))
        waiting = "SELECT id FROM deliveries WHERE resend_id = ? AND resend_requested_at IS NOT NULL AND begun = 0"
        self.discarded |= {row[0] for row in self.conn.execute(waiting, (replay,))}
        with transaction(self.conn):
            resends.cancel(self.conn, replay, actor="operator", now=self.now)
        del self.replays[replay]

    # The daemon's steps

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
        return unread.read_unread(self.outbox, ReadPlan(limit))

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
        self.send(self.done.claims)
        for answer in self.done.marks:
            event = str(answer.row.event_id)
            if event in self.waiting:
                self.waiting.discard(event)
                through = {one for one in self.webhooks if self.lets_through(self.filters.get(one), event)}
                self.acknowledged[event] = through
                self.filtered_out |= {(event, one) for one in self.webhooks if one not in through}

    @precondition(lambda self: self.done is not None)
    @rule()
    def mark(self) -> None:
        assert self.done is not None
        with transaction(self.outbox):
            outbox.mark(self.outbox, self.done.marks, self.done.batch, clock.text(self.now))
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
        self.limits.send(claims)
        self.in_flight += claims
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
        # As the dispatcher does with what ended before the clock was set back.
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
        if not self.webhooks[webhook] or self.in_flight or self.unrecorded:
            return
        self.take_all()
        for wait in SCHEDULE.waits:
            self.now += wait
            self.send(self.take({webhook: 4}))
            while self.in_flight:
                is_last = succeeds and wait is SCHEDULE.waits[-1] and len(self.in_flight) == 1
                self.end(Outcome.SUCCESS if is_last else Outcome.TIMEOUT, False)
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
        with transaction(self.outbox):
            before = clock.text(self.now - timedelta(days=7))
            outbox.prune(self.outbox, before, 2)
            rejected_rows.Sweep(before).step(self.outbox, 2)

    @rule(back=st.sampled_from([timedelta(0), timedelta(minutes=1), timedelta(hours=1)]))
    def crash(self, back: timedelta) -> None:
        """What was in memory is gone: what is in flight, what was not recorded, what was read.

        And the clock may be set back until the next start.
        """
        self.conn.close()
        self.outbox.close()
        self.in_flight, self.unrecorded = [], []
        self.limits.forget()
        self.open()
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

    # What must hold after every step

    @invariant()
    def every_acknowledged_event_waits_or_was_taken(self) -> None:
        unread = {row[0] for row in self.outbox.execute("SELECT event_id FROM outbox WHERE fanned_out_at IS NULL")}
        taken = {row[0] for row in self.conn.execute("SELECT id FROM events")}
        assert self.waiting <= unread, "an event is marked that was never taken"
        assert self.acknowledged.keys() <= unread | taken
        rows = self.conn.execute(
            "SELECT d.event_id, d.webhook_id FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id "
            "WHERE w.deleted_at IS NULL"
        ).fetchall()
        assert len(rows) == len(set(map(tuple, rows))), "two deliveries of one event to one webhook"
        expected = {(event, webhook) for event, wanted in self.acknowledged.items() for webhook in wanted}
        assert set(map(tuple, rows)) == expected
        verdicts = self.conn.execute(
            "SELECT e.id, f.webhook_id FROM filtered_out f JOIN events e ON e.seq = f.event_seq "
            "JOIN webhooks w ON w.id = f.webhook_id WHERE w.deleted_at IS NULL"
        )
        assert set(map(tuple, verdicts)) == self.filtered_out, "a verdict is lost, or was rewritten"

    @invariant()
    def every_request_is_shown_with_the_same_bytes(self) -> None:
        shown = {
            (row[0], row[1]): row[2].encode()
            for row in self.conn.execute(
                "SELECT a.delivery_id, a.number, e.body FROM attempts a JOIN deliveries d ON d.id = a.delivery_id "
                "JOIN events e ON e.seq = d.event_seq UNION ALL SELECT d.id, d.begun, e.body FROM deliveries d "
                "JOIN events e ON e.seq = d.event_seq WHERE d.in_flight = 1"
            )
        }
        alive = {row[0] for row in self.conn.execute("SELECT id FROM deliveries")}
        for delivery_id, number, body in self.requests:
            if delivery_id in alive:
                assert shown.get((delivery_id, number)) == body, "a request that left is not shown"

    @invariant()
    def every_delivery_has_an_end_or_goes_on(self) -> None:
        in_memory = {one.delivery_id for one in self.in_flight} | {one.claim.delivery_id for one in self.unrecorded}
        query = (
            "SELECT d.*, (SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id) + (d.started_at IS NOT NULL) AS begun_rows, "
            "(SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id AND a.outcome IS NOT NULL) AS ended_rows, "
            "(SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id AND a.outcome = 'success') AS successes "
            "FROM deliveries d"
        )
        for row in self.conn.execute(query):
            assert (row["begun"], row["attempts"]) == (row["begun_rows"], row["ended_rows"]), "counted wrongly"
            assert row["in_flight"] == row["begun"] - row["attempts"]
            assert not row["in_flight"] or row["id"] in in_memory, "stuck: in flight for ever"
            assert (row["state"] == "pending") == (row["next_attempt_at"] is not None), "stuck: no next attempt"
            assert row["tries"] <= row["attempts"]
            if row["state"] == "succeeded":
                assert row["successes"], "succeeded, and no attempt was a success"
            if row["state"] == "failed":
                assert row["tries"] >= TRIES, "failed before its tries were used up"
            assert row["successes"] <= self.reached[row["id"]], "a success that never happened"
            longest = clock.text(self.now + SCHEDULE.waits[min(row["tries"], TRIES - 1)])
            assert (row["next_attempt_at"] or "") <= longest, "waits longer than its schedule"


TestMachine = Machine.TestCase
TestMachine.settings = OPTIONS


class ByWatermark(Machine):
    """Seeded: the outbox is read from the last id on, as if ids came in order."""

    last = 0

    def read_unread(self, limit: int) -> list[OutboxRow]:
        return [row for row in unread.read_unread(self.outbox, ReadPlan(100)) if row.id > self.last][:limit]

    @rule()
    def settle(self) -> None:
        """Work off everything: what is left then was forgotten."""
        rows = self.read_unread(100)
        self.last = max([self.last, *(row.id for row in rows)])
        self.read, self.done = rows, None
        if rows:
            self.fan_out(False)
            self.mark()
        assert not self.waiting, "an event is forgotten"


class ClaimedTooLate(Machine):
    """Seeded: the request leaves before its claim is committed, and the commit fails."""

    def take(self, wanted: dict[str, int]) -> list[Claim]:
        claims: list[Claim] = []
        with suppress(ZeroDivisionError), transaction(self.conn):
            claims = claiming.claim(self.conn, wanted, self.now)
            raise ZeroDivisionError
        return claims


class RecordedTwice(Machine):
    """Seeded: a result is written although its attempt is recorded already."""

    def write_results(self, group: Sequence[Result]) -> None:
        results.record(self.conn, group, SCHEDULE)
        for result in group:
            self.conn.execute(
                "UPDATE deliveries SET attempts = attempts + 1, tries = tries + 1 WHERE id = ?",
                (result.claim.delivery_id,),
            )


class MarkedBeforeTaken(Machine):
    """Seeded: rows are marked as taken before their events are in the database."""

    @rule(limit=st.integers(1, 5))
    def mark_first(self, limit: int) -> None:
        rows = unread.read_unread(self.outbox, ReadPlan(limit))
        with transaction(self.outbox):
            outbox.mark(self.outbox, [Mark(row, None) for row in rows], 0, clock.text(self.now))


class BelievesTheClock(Machine):
    """Seeded: what was written by a clock that was set back since, while no daemon ran, is left as it is."""

    def mind_the_clock(self) -> None:
        pass


class RewritesVerdicts(Machine):
    """Seeded: a filter that is changed judges anew what was filtered out before."""

    def set_filter(self, data: st.DataObject, above: int | None) -> None:
        super().set_filter(data, above)
        self.conn.execute("DELETE FROM filtered_out WHERE webhook_id IN (SELECT id FROM webhooks WHERE filter IS NULL)")

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        if self.webhooks:
            self.set_filter(data, 5)
            self.take_all()
            self.set_filter(data, None)


class FiltersLate(Machine):
    """Seeded: fan-out goes by the filters that it has read before."""

    def fan_out(self, begin: bool) -> None:
        known: dict[str, filters.Compiled] = {}
        with patch.object(fanout, "sift", lambda _, webhooks, *rest: filtering.sift(known, webhooks, *rest)):
            super().fan_out(begin)

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        if self.webhooks:
            self.set_filter(data, 5000)


class ForgetsTheStep(Machine):
    """Seeded: a step of a replay is not remembered, and nobody looks whether an event has its delivery."""

    def take_step(self) -> list[str]:
        places = self.conn.execute("SELECT reached, resend_id FROM resend_webhooks WHERE ended = 0").fetchall()
        with patch.object(later_deliveries, "known", lambda *_: {}):
            finished = super().take_step()
        self.conn.executemany("UPDATE resend_webhooks SET reached = ?, done = 0 WHERE resend_id = ?", places)
        return finished


class FailsInSpiteOfASuccess(Machine):
    """Seeded: a success does not end the failures of before, as far as `delivery.disable_after` goes."""

    def write_results(self, group: Sequence[Result]) -> None:
        columns = "down_since, down_until, down_given_up"
        before = self.conn.execute(f"SELECT {columns}, id FROM webhooks WHERE down_since IS NOT NULL").fetchall()
        super().write_results(group)
        for row in before:
            self.conn.execute(
                f"UPDATE webhooks SET ({columns}) = (?, ?, ?) WHERE id = ? AND down_since IS NULL", tuple(row)
            )


class GoesOnAfterEnabling(Machine):
    """Seeded: enabling does not start the count of failures anew."""

    @rule()
    def disable_and_enable(self) -> None:
        for webhook, enabled in self.webhooks.items():
            if enabled:
                columns = "down_since, down_until, down_given_up"
                query = f"SELECT {columns} FROM webhooks WHERE id = ?"
                with transaction(self.conn):
                    before = self.conn.execute(query, (webhook,)).fetchall()[0]
                    webhooks.disable(self.conn, webhook, self.now)
                    webhooks.enable(self.conn, webhook, discard_held=False, now=self.now)
                    update = f"UPDATE webhooks SET ({columns}) = (?, ?, ?) WHERE id = ?"
                    self.conn.execute(update, (*before, webhook))
                self.failures[webhook] = []


class ForgottenAtACrash(Machine):
    """Seeded: what was in flight at a crash stays in flight."""

    def crash(self, back: timedelta) -> None:
        self.conn.close()
        self.outbox.close()
        self.in_flight, self.unrecorded = [], []
        self.open()

    @rule()
    def crash_hard(self) -> None:
        self.crash(timedelta(0))


class ForgetsItsSpans(Machine):
    """Seeded: after a crash nothing counts as begun."""

    def read_limits(self) -> None:
        self.limits.read(self.conn, self.now + timedelta(days=1))


class HearsOfALimitLate(Machine):
    """Seeded: a transaction goes by the limit of which the scheduler has heard."""

    def take(self, wanted: dict[str, int]) -> list[Claim]:
        self.limits.rates.advance(self.limits.moment)
        allowance = Allowance(places=lambda webhook, limit: self.limits.rates.places(webhook))
        with transaction(self.conn):
            return claiming.claim(self.conn, wanted, self.now, allowance=allowance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeded",
    [
        RewritesVerdicts,
        FiltersLate,
        ByWatermark,
        ClaimedTooLate,
        RecordedTwice,
        MarkedBeforeTaken,
        ForgottenAtACrash,
        BelievesTheClock,
        ForgetsTheStep,
        FailsInSpiteOfASuccess,
        GoesOnAfterEnabling,
        ForgetsItsSpans,
        HearsOfALimitLate,
    ],
    ids=lambda it: it.__name__,
)
def test_the_invariants_find_a_seeded_bug(seeded: type[Machine]) -> None:
    """What finds nothing proves nothing."""
    with pytest.raises(AssertionError):
        run_state_machine_as_test(seeded, settings=settings(OPTIONS, max_examples=500, phases=[Phase.generate]))
