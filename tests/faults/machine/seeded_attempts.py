"""Machines with a bug in what becomes of attempts: claimed, recorded, counted, interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)

from almirant_webhooks.model import Claim, Outcome, Result
from almirant_webhooks.storage.sql import (
    claiming,
    results,
    webhooks,
)
from almirant_webhooks.storage.sql.allowance import Allowance

from ...support.steps import SCHEDULE, transaction
from .directed import Directed
from .invariants import Machine


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


class BelievesTheClock(Machine):
    """Seeded: what was written by a clock that was set back since, while no daemon ran, is left as it is."""

    def mind_the_clock(self) -> None:
        pass


class FailsInSpiteOfASuccess(Directed):
    """Seeded: a success does not end the failures of before, as far as `delivery.disable_after` goes."""

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data())
    def recover_and_look(self, data: st.DataObject) -> None:
        """The steps that show it: all is given up, and what comes after that succeeds."""
        webhook = self.make_ready(data)
        self.go_down(webhook, False)
        self.insert(max(self.ids) + 1, False)
        self.take_all()
        self.send(self.take({webhook: 100}))
        self.end_all(Outcome.SUCCESS)
        self.disable_down()

    def write_results(self, group: Sequence[Result]) -> None:
        columns = "down_since, down_until, down_given_up"
        before = self.conn.execute(f"SELECT {columns}, id FROM webhooks WHERE down_since IS NOT NULL").fetchall()
        super().write_results(group)
        for row in before:
            self.conn.execute(
                f"UPDATE webhooks SET ({columns}) = (?, ?, ?) WHERE id = ? AND down_since IS NULL", tuple(row)
            )


class GoesOnAfterEnabling(Directed):
    """Seeded: enabling does not start the count of failures anew."""

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data())
    def enable_and_look(self, data: st.DataObject) -> None:
        """The steps that show it: all is given up, and enabling makes that count no more."""
        self.go_down(self.make_ready(data), False)
        self.disable_and_enable()
        self.disable_down()

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
        self.in_flight, self.unrecorded = [], []
        self.restart()

    @rule()
    def crash_hard(self) -> None:
        self.crash(timedelta(0))


class ForgetsItsSpans(Directed):
    """Seeded: after a crash nothing counts as begun."""

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data())
    def crash_within_a_span(self, data: st.DataObject) -> None:
        """The steps that show it: the only place of a span is taken before a crash, and again after it."""
        webhook = self.make_ready(data)
        self.limit_rate(webhook, "1/s")
        self.read_limits()
        self.take_all()
        self.send(self.take({webhook: 1}))
        self.crash(timedelta(0))
        self.send(self.take({webhook: 1}))

    def read_limits(self) -> None:
        self.limits.read(self.conn, self.now + timedelta(days=1))


class HearsOfALimitLate(Directed):
    """Seeded: a transaction goes by the limit of which the scheduler has heard."""

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data())
    def limit_at_the_last_moment(self, data: st.DataObject) -> None:
        """The steps that show it: two are due, and one alone may begin, of which the scheduler has not heard yet."""
        webhook = self.make_ready(data)
        self.read_limits()
        self.take_all()
        self.limit_rate(webhook, "1/s")
        self.send(self.take({webhook: 2}))

    def take(self, wanted: dict[str, int]) -> list[Claim]:
        self.limits.rates.advance(self.limits.moment)
        allowance = Allowance(places=lambda webhook, limit: self.limits.rates.places(webhook))
        with transaction(self.conn):
            return claiming.claim(self.conn, wanted, self.now, allowance=allowance)
