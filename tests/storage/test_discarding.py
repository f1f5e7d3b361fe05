"""What is discarded is never sent, and counts as cancelled from the commit on, though steps write it so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Outcome, Trigger, Webhook
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import (
    deliveries,
    held,
    log,
    resend_steps,
    resends,
    search,
    stats,
    summaries,
    webhooks,
)

from ..conftest import Receiver
from ..support.service import Service
from ..support.steps import START, Steps, transaction

DAY = timedelta(days=1)


def disable(there: Steps, webhook: Webhook) -> None:
    with transaction(there.conn):
        webhooks.disable(there.conn, webhook.id, START)


def enable(there: Steps, webhook: Webhook, *, discard: bool) -> None:
    with transaction(there.conn):
        webhooks.enable(there.conn, webhook.id, discard_held=discard, now=START)


def step(there: Steps, limit: int = 100) -> int:
    with transaction(there.conn):
        return held.discard(there.conn, limit)


@pytest.fixture
def discarding(steps: Steps) -> Webhook:
    """A webhook whose five held deliveries were discarded, of which none is written as cancelled yet; one was tried."""
    webhook = steps.webhook()
    steps.event()
    steps.attempt(webhook, START, Outcome.TIMEOUT)
    for _ in range(4):
        steps.event()
    disable(steps, webhook)
    enable(steps, webhook, discard=True)
    assert [row[0] for row in steps.conn.execute("SELECT DISTINCT state FROM deliveries")] == ["pending"]
    return webhook


def test_nothing_that_was_discarded_is_claimed_and_what_is_new_is_sent_at_once(
    steps: Steps, discarding: Webhook
) -> None:
    """Before the first step, between two, and after the last; and it is not said to be due."""
    assert deliveries.first_due_after(steps.conn, "", 500)[1] == {}
    assert steps.claim(discarding, START + DAY) == []
    steps.event()
    assert step(steps, 2) == 2
    assert discarding.id in deliveries.first_due_after(steps.conn, "", 500)[1]
    assert len(steps.claim(discarding, START + DAY)) == 1
    while step(steps, 2):
        pass
    assert steps.claim(discarding, START + DAY) == []
    states = [row[0] for row in steps.conn.execute("SELECT state FROM deliveries ORDER BY state")]
    assert states == ["cancelled"] * 5 + ["pending"]


def shown(there: Steps, webhook: Webhook) -> dict[str, Any]:
    """All that tells of states and counts."""
    conn = there.conn
    found: dict[str, Any] = {}
    for state in ("pending", "held", "cancelled"):
        filters = Selection(webhook_id=webhook.id, state=state)
        found[f"page of {state}"] = len(search.deliveries(conn, filters, limit=50, cursor=None).items)
        found[f"count of {state}"] = search.count(conn, filters)
        found[f"all {state}"] = search.count(conn, replace(filters, webhook_id=None))
        found[f"list of {state}"] = len(search.newest(conn, Selection(state=state)))
        if state != "held":
            found[f"to resend of {state}"] = resends.count(conn, Selection(state=state))
    (health,) = webhooks.health(conn, webhook.id)
    found |= {name: health[name] for name in ("pending", "held", "cancelled")}
    standing = summaries.of_webhooks(conn, [webhook.id])[webhook.id]
    found["standing"] = standing["held"]
    found["stats"] = stats.pending(conn, START)
    rows = [dict(row) for row in conn.execute("SELECT * FROM delivery_log ORDER BY delivery_id")]
    details = [log.delivery(conn, row["delivery_id"]) for row in rows]
    found["log"] = [(row["state"], row["held"], row["next_attempt_at"]) for row in rows]
    found["reasons"] = [(one["cancelled_reason"], one["resend_requested_at"]) for one in details]
    found["attempts"] = [row[0] for row in conn.execute("SELECT state FROM attempt_log")]
    events = sorted(row["event_id"] for row in log.newest_events(conn))
    found["outcomes"] = [[one["verdict"] for one in log.event(conn, event)["outcomes"]] for event in events]
    return found


def test_every_view_count_and_verdict_says_the_same_before_and_after_the_steps(
    steps: Steps, discarding: Webhook
) -> None:
    """What a person reads at once is what stays."""
    at_once = shown(steps, discarding)
    assert (at_once["cancelled"], at_once["pending"], at_once["held"]) == (5, 0, 0)
    assert at_once["log"] == [("cancelled", 0, None)] * 5
    assert at_once["to resend of cancelled"] == {discarding.id: 5}
    while step(steps, 2):
        assert shown(steps, discarding) == at_once
    assert shown(steps, discarding) == at_once


def test_disabled_again_it_holds_what_is_new_alone_and_can_discard_that_too(steps: Steps, discarding: Webhook) -> None:
    """The steps go on meanwhile; what was discarded first never comes back."""
    step(steps, 1)
    steps.event()
    disable(steps, discarding)
    assert held.count(steps.conn, discarding.id) == 1
    assert step(steps, 1)
    enable(steps, discarding, discard=False)
    (claim,) = steps.claim(discarding, START + DAY)
    assert claim.number == 1
    steps.event()
    disable(steps, discarding)
    enable(steps, discarding, discard=True)
    assert steps.claim(discarding, START + DAY) == []
    while step(steps, 1):
        pass
    states = [row[0] for row in steps.conn.execute("SELECT state FROM deliveries WHERE id <> ?", (claim.delivery_id,))]
    assert states == ["cancelled"] * 6


def test_one_that_was_discarded_can_be_resent_before_its_step(steps: Steps, discarding: Webhook) -> None:
    """It is cancelled then, and has one manual attempt."""
    delivery = search.newest(steps.conn)[0]["delivery_id"]
    assert steps.resend(delivery, START)
    while step(steps, 2):
        pass
    (claim,) = steps.claim(discarding, START)
    assert (claim.delivery_id, claim.trigger) == (delivery, Trigger.MANUAL)


def test_a_resend_of_many_waits_for_the_steps_and_gets_every_one(steps: Steps, discarding: Webhook) -> None:
    """What was asked for before the discarding is not sent."""
    with transaction(steps.conn):
        counts = resends.count(steps.conn, Selection(state="cancelled"))
        resends.start(steps.conn, Selection(state="cancelled"), counts, actor="operator", now=START + DAY)
    with transaction(steps.conn):
        assert resend_steps.step(steps.conn, START + DAY).touched == set()
    while step(steps, 2):
        pass
    with transaction(steps.conn):
        assert resend_steps.step(steps.conn, START + DAY).touched == {discarding.id}
    assert {claim.trigger for claim in steps.claim(discarding, START + DAY)} == {Trigger.MANUAL}


def test_what_waited_in_a_resend_of_many_is_discarded_with_the_rest(steps: Steps) -> None:
    """Nothing of it is claimed, and the resend ends."""
    webhook = steps.webhook()
    for _ in range(3):
        steps.event()
        steps.attempt(webhook, START, Outcome.TIMEOUT)
    counts = resends.count(steps.conn, Selection(state="pending"))
    with transaction(steps.conn):
        resends.start(steps.conn, Selection(state="pending"), counts, actor="operator", now=START + DAY)
        assert resend_steps.step(steps.conn, START + DAY).touched == {webhook.id}
    disable(steps, webhook)
    enable(steps, webhook, discard=True)
    assert steps.claim(webhook, START + DAY) == []
    assert deliveries.first_due_after(steps.conn, "", 500)[1] == {}
    while step(steps, 2):
        pass
    finished: list[str] = []
    while not finished:
        with transaction(steps.conn):
            finished = resend_steps.step(steps.conn, START + DAY).finished
    assert steps.claim(webhook, START + DAY) == []


def test_a_webhook_that_is_deleted_meanwhile_is_erased_with_all_that_was_discarded(
    steps: Steps, discarding: Webhook
) -> None:
    """The steps of the discarding leave it to those of the deletion."""
    with transaction(steps.conn):
        webhooks.delete(steps.conn, discarding.id, START)
    assert step(steps) == 0
    while True:
        with transaction(steps.conn):
            if not deliveries.erase_deleted(steps.conn, 2):
                break
    for table in ("webhooks", "deliveries", "attempts"):
        assert steps.conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0


@pytest.mark.long
async def test_the_daemon_sends_what_is_new_and_discards_the_rest_over_a_restart(
    service: Service, receiver: Receiver
) -> None:
    """Of 2,000 that are held none arrives."""
    await service.start()
    webhook = service.webhook(receiver.url)
    service.write(webhooks.disable, webhook.id, clock.now())
    service.insert(*({"n": number} for number in range(2000)))
    await service.until(lambda: service.read(held.count, webhook.id) == 2000, within=60)
    await service.stop()
    service.write(webhooks.enable, webhook.id, discard_held=True, now=clock.now())
    await service.start()
    new = service.insert({"n": "new"})
    await service.until(lambda: len(service.log(state="succeeded")) == 1)
    await service.stop()
    await service.start()
    query = "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state"
    expected = [("cancelled", 2000), ("succeeded", 1)]
    await service.until(
        lambda: [tuple(row) for row in service.read(lambda conn: conn.execute(query).fetchall())] == expected, within=60
    )
    assert [row["event_id"] for row in service.log(state="succeeded")] == new
    assert len(receiver.requests) == 1
