"""What must hold after every step, whatever the steps were."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from hypothesis.stateful import (
    invariant,
)

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import (
    claiming,
    deliveries,
)
from almirant_webhooks.storage.sql.allowance import Allowance

from ...support.steps import SCHEDULE, transaction
from .daemon import Daemon

TRIES = len(SCHEDULE.waits)


class Machine(Daemon):
    """All steps in any order, with the invariants of the contract."""

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
    def an_ordered_webhook_is_looked_at_when_something_can_begin(self) -> None:
        """Neither later, which would be a hang, nor before, which would be a loop that looks again and again."""
        for webhook in sorted(self.places.ordered):
            due = deliveries.first_due(self.conn, [webhook]).get(webhook)
            for now in (self.now, self.now + timedelta(days=1)):
                with suppress(ZeroDivisionError), transaction(self.conn):
                    can_begin = claiming.claim(
                        self.conn, {webhook: 2}, now, allowance=Allowance(places=lambda webhook, rate_limit: 2)
                    )
                    raise ZeroDivisionError
                assert bool(can_begin) == (due is not None and due.at <= clock.text(now))

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
            "SELECT d.*, (SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id) + iif(d.started_at IS NOT NULL, 1, 0) AS begun_rows, "
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
