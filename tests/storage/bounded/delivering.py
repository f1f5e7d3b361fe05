"""Transactions of delivering: fan-out, claims, results, waits, what is held."""

from __future__ import annotations

from datetime import timedelta

from almirant_webhooks import clock
from almirant_webhooks.model import Outcome, Result
from almirant_webhooks.rules.rates import Rate
from almirant_webhooks.storage.engine import (
    ReadPlan,
    Work,
)
from almirant_webhooks.storage.sql import (
    batch,
    claiming,
    deliveries,
    disabling,
    fanout,
    health,
    held,
    results,
    starts,
    waits,
    webhooks,
)
from almirant_webhooks.storage.sql.allowance import Allowance
from almirant_webhooks.storage.sqlite.connection import Connection

from ...support.large import BUSY, NOW, OFF, ORDERED, RETRYING
from ...support.steps import SCHEDULE
from .kind import A_DELIVERY, DAY, LIMIT, Kind, outbox_inside, rows, steps_of


def _claim(conn: Connection) -> object:
    return claiming.claim(conn, {BUSY: 8, OFF: 8, "wh_resent": 8, "wh_discarding": 8, "wh_hurried": 8}, NOW)


def _end_in_order(conn: Connection) -> object:
    """Begin the next one of ordered webhooks, record its end, and begin the one after it."""
    starts = {ORDERED: 8, RETRYING: 8}
    claims = claiming.claim(conn, starts, NOW)
    assert [claim.webhook_id for claim in claims] == [ORDERED]
    ended = [Result(claim, Outcome.SUCCESS, NOW, 5, 200) for claim in claims]
    written = batch.write(
        conn, Work(ended, starts, take_slot=lambda webhook, served: True), SCHEDULE, NOW, outbox_inside(conn)
    )
    assert (len(written.begun), set(written.due)) == (1, {RETRYING})
    return written


def _limit(conn: Connection) -> None:
    """Have the webhooks with many deliveries due, and with many resends, a rate limit; among the resends is a test."""
    conn.execute("UPDATE webhooks SET rate_limit = '100/h' WHERE id IN (?, 'wh_hurried')", (BUSY,))
    webhooks.request_test(conn, "wh_hurried", "lead.created", "{}", NOW)


def _claim_limited(conn: Connection) -> object:
    return claiming.claim(
        conn, {BUSY: 8, "wh_hurried": 8}, NOW, allowance=Allowance(places=lambda webhook, rate_limit: 4)
    )


def _began_within_the_hour(conn: Connection) -> None:
    """Have all attempts begun lately, and have counted in a limit, of a webhook that was changed since."""
    conn.execute("UPDATE attempts SET started_at = ?, limited_webhook = ?", (clock.text(NOW), BUSY))
    conn.execute("UPDATE webhooks SET updated_at = ? WHERE id = ?", (clock.text(NOW), BUSY))


def _unmake(conn: Connection) -> None:
    """Let templates have made no body of all that somebody in a hurry resends."""
    hurried = "FROM deliveries WHERE webhook_id = 'wh_hurried'"
    conn.execute("UPDATE webhooks SET template = '\"{{ type }}\"' WHERE id = 'wh_hurried'")
    conn.execute(f"INSERT INTO rendered_bodies SELECT id, NULL, 'too large' {hurried}")
    conn.execute(
        f"UPDATE deliveries SET rendered = 1, state = 'failed', next_attempt_at = NULL WHERE id IN (SELECT id {hurried})"
    )


def _write_batch(conn: Connection) -> object:
    """Record what was claimed, claim more, and fan out."""
    claims = claiming.claim(conn, {BUSY: 8}, NOW)
    ended = [Result(one, Outcome.HTTP_ERROR, NOW, 5, 500, "the receiver answered 500") for one in claims]
    work = Work(ended, {BUSY: 8}, to_read=ReadPlan(20), take_slot=lambda webhook, served: True)
    return batch.write(conn, work, SCHEDULE, NOW, outbox_inside(conn))


# Names are those of the storage's modules; a second kind of the same function has words behind its name.
DELIVERING: dict[str, Kind] = {
    "batch.write": Kind(_write_batch),
    "batch.write, of a claim among resends, held and discarded ones": Kind(_claim),
    "batch.write, of a claim at webhooks with a rate limit": Kind(_claim_limited, before=_limit),
    "batch.write, of a claim at webhooks without a place": Kind(
        lambda conn: claiming.claim(conn, {BUSY: 8, "wh_hurried": 8}, NOW), before=_limit
    ),
    "starts.recent_starts": Kind(
        lambda conn: starts.recent_starts(conn, {BUSY: Rate(100, 3600)}, NOW, newest=500), before=_began_within_the_hour
    ),
    "batch.write, of an end in order": Kind(_end_in_order),
    "fanout.fan_out": Kind(lambda conn: fanout.fan_out(conn, rows(conn), timedelta(0), NOW)),
    "fanout.fan_out, by templates": Kind(
        lambda conn: fanout.fan_out(conn, rows(conn), timedelta(0), NOW),
        before=lambda conn: conn.execute("UPDATE webhooks SET template = '{{ type }}' WHERE project_id = 'p'"),
    ),
    "batch.write, of a claim of what has no body": Kind(_claim, before=_unmake),
    "results.interrupt_open": Kind(lambda conn: results.interrupt_open(conn, SCHEDULE, NOW), before=_claim),
    "results.interrupt_open, of some webhooks": Kind(
        lambda conn: results.interrupt_open(conn, SCHEDULE, NOW, [BUSY, ORDERED]), before=_claim
    ),
    "health.note_health_changes": Kind(lambda conn: health.note_health_changes(conn, NOW)),
    "health.has_failed_to_tell": Kind(lambda conn: health.has_failed_to_tell(conn, NOW)),
    "health.tell_failed": Kind(lambda conn: health.tell_failed(conn, NOW)),
    "disabling.disable_down": Kind(lambda conn: disabling.disable_down(conn, DAY, NOW)),
    "batch.write, of a webhook that cannot be opened": Kind(
        lambda conn: disabling.disable_unopenable(conn, BUSY, "why", NOW)
    ),
    "held.discard": Kind(lambda conn: held.discard(conn, LIMIT)),
    "held.TooLong": Kind(lambda conn: steps_of(held.TooLong(NOW - 30 * DAY), conn)),
    "held.TooLong, where all is": Kind(lambda conn: steps_of(held.TooLong(NOW + 2 * DAY), conn)),
    "deliveries.first_due_after": Kind(lambda conn: deliveries.first_due_after(conn, "", LIMIT)),
    "deliveries.request_resend": Kind(lambda conn: deliveries.request_resend(conn, A_DELIVERY, NOW)),
    "deliveries.erase_deleted": Kind(lambda conn: deliveries.erase_deleted(conn, LIMIT)),
    "deliveries.erase_deleted, what is left": Kind(
        lambda conn: deliveries.erase_deleted(conn, LIMIT),
        before=lambda conn: conn.execute("DELETE FROM deliveries WHERE webhook_id = 'wh_gone'"),
    ),
    "waits.shift_due": Kind(lambda conn: waits.shift_due(conn, DAY / 2, NOW)),
    "waits.shift_due, of own projects": Kind(
        lambda conn: waits.shift_due(conn, DAY / 2, NOW, owns=lambda project: project == "p")
    ),
    "waits.shorten": Kind(lambda conn: waits.shorten(conn, SCHEDULE.waits, NOW)),
    "waits.has_later_times": Kind(lambda conn: waits.has_later_times(conn, NOW)),
    "deliveries.first_due": Kind(
        lambda conn: deliveries.first_due(conn, [BUSY, OFF, "wh_resent", "wh_discarding", "wh_hurried"])
    ),
    "deliveries.first_due, in order": Kind(lambda conn: deliveries.first_due(conn, [ORDERED, RETRYING])),
    "deliveries.held_up_by": Kind(lambda conn: deliveries.held_up_by(conn, RETRYING)),
}
