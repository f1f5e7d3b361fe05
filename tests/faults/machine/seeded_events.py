"""Machines with a bug in what becomes of events: read, filtered, fanned out, replayed, in order."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)

from almirant_webhooks.model import Outcome
from almirant_webhooks.rules import filters
from almirant_webhooks.storage.engine import FanOut, Mark, OutboxRow, ReadPlan
from almirant_webhooks.storage.sql import (
    fanout,
    filtering,
    later_deliveries,
)

from .directed import Directed
from .invariants import Machine


class ByWatermark(Machine):
    """Seeded: the outbox is read from the last id on, as if ids came in order."""

    last = 0

    def read_unread(self, limit: int) -> list[OutboxRow]:
        return [row for row in self.steps.unread(ReadPlan(100)) if row.id > self.last][:limit]

    @rule(number=st.integers(2, 10_000))
    def overtake(self, number: int) -> None:
        """The steps that show it: a lower id is committed after a higher one was read."""
        self.insert(number, False)
        self.settle()
        self.insert(number - 1, False)
        self.settle()

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


class MarkedBeforeTaken(Machine):
    """Seeded: rows are marked as taken before their events are in the database."""

    @rule(limit=st.integers(1, 5))
    def mark_first(self, limit: int) -> None:
        self.steps.mark(FanOut(marks=[Mark(row, None) for row in self.steps.unread(ReadPlan(limit))]), self.now)


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


class ForgetsTheStep(Directed):
    """Seeded: a step of a replay is not remembered, and nobody looks whether an event has its delivery."""

    @rule(data=st.data())
    def replay_for_a_new_webhook(self, data: st.DataObject) -> None:
        """The steps that show it: a webhook lacks all that there is, and its replay takes a step twice."""
        self.make_ready(data)
        self.take_all()
        if len(self.webhooks) > 2:
            self.delete(data)
        before = set(self.webhooks)
        self.create()
        (webhook,) = set(self.webhooks) - before
        self.start_replay(webhook, False)
        self.advance_replays(False)
        self.advance_replays(False)

    def take_step(self) -> list[str]:
        places = self.conn.execute("SELECT reached, resend_id FROM resend_webhooks WHERE ended = 0").fetchall()
        with patch.object(later_deliveries, "known", lambda *_: {}):
            finished = super().take_step()
        self.conn.executemany("UPDATE resend_webhooks SET reached = ?, done = 0 WHERE resend_id = ?", places)
        return finished


class InOrder(Directed):
    """Draws the steps that show a broken order one after the other, which chance seldom does."""

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data())
    def begin_both_at_once(self, data: st.DataObject) -> None:
        """Two events are fanned out, and may begin: the second one has to wait for the first."""
        self.switch_order(self.make_ready(data))
        self.read_outbox(100)
        self.fan_out(True)
        self.mark()

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data())
    def retry_the_first(self, data: st.DataObject) -> None:
        """The first one fails and waits for its next attempt: the second one has to wait with it."""
        webhook = self.make_ready(data)
        self.switch_order(webhook)
        self.take_all()
        self.send(self.take({webhook: 1}))
        self.end_all(Outcome.TIMEOUT)
        self.send(self.take({webhook: 1}))
