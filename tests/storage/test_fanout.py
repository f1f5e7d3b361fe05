"""Fan out, called alone with a time of its own: from rows of the outbox to events and their deliveries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from almirant_webhooks import clock
from almirant_webhooks.storage.engine import FanOut, ReadPlan
from almirant_webhooks.storage.sql import fanout, webhooks

from ..support.steps import START, Steps, transaction

LATER = START + timedelta(hours=3)
WAIT = timedelta(minutes=2)


def _insert(steps: Steps, event_id: str, *, project: str = "p", payload: str = "{}") -> None:
    steps.outbox.execute(
        "INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (?, 'lead.created', ?, ?)",
        (project, payload, event_id),
    )


def _fan_out(steps: Steps, take: Callable[[str], bool] = lambda webhook: False) -> FanOut:
    """Fan out all rows; none of them is marked."""
    with transaction(steps.conn):
        return fanout.fan_out(steps.conn, steps.unread(ReadPlan(100)), WAIT, LATER, take)


def test_an_event_goes_to_the_webhooks_of_its_own_project_that_want_it(steps: Steps) -> None:
    """Once to each, however many of its patterns match; an event that nobody wants is taken too."""
    wanting = steps.webhook(events=["lead.*", "lead.created"])
    steps.webhook(events=["deal.*"], url="https://example.com/deals")
    steps.webhook(project_id="q", url="https://example.com/q")
    _insert(steps, "wanted")
    _insert(steps, "unwanted", project="r")
    done = _fan_out(steps)
    assert (done.events, done.deliveries, done.unmatched, done.due) == (2, 1, 1, {wanting.id})
    rows = steps.conn.execute("SELECT event_id, webhook_id, state, created_at, next_attempt_at FROM deliveries")
    due = clock.text(LATER + WAIT)
    assert [tuple(row) for row in rows] == [("wanted", wanting.id, "pending", clock.text(LATER), due)]
    assert [mark.rejected_reason for mark in done.marks] == [None, None]


def test_a_row_that_comes_again_makes_no_second_event(steps: Steps) -> None:
    """The same content is a duplicate; other content under the same id is rejected, and so is what is no JSON object."""
    steps.webhook()
    _insert(steps, "e")
    assert _fan_out(steps).events == 1
    again = _fan_out(steps)
    assert (again.events, again.deliveries, again.duplicates, again.rejected) == (0, 0, 1, [])
    steps.conn.execute("UPDATE outbox SET payload = '{\"a\": 1}'")
    changed = _fan_out(steps)
    assert (changed.events, changed.duplicates, len(changed.rejected)) == (0, 0, 1)
    assert "already used" in str(changed.rejected[0].rejected_reason)
    assert steps.conn.execute("SELECT count(*) FROM deliveries").fetchone()[0] == 1


def test_a_delivery_with_a_slot_is_inserted_as_begun_at_the_given_time(steps: Steps) -> None:
    """No slot is asked for a webhook that is disabled; without one a delivery waits for its first attempt."""
    first, second, disabled = (steps.webhook(url=f"https://example.com/{number}") for number in range(3))
    with transaction(steps.conn):
        webhooks.disable(steps.conn, disabled.id, START)
    _insert(steps, "e")
    asked: list[str] = []

    def take(webhook: str) -> bool:
        asked.append(webhook)
        return webhook == first.id

    (claim,) = _fan_out(steps, take).claims
    assert sorted(asked) == sorted([first.id, second.id])
    assert (claim.webhook_id, claim.number, claim.started_at) == (first.id, 1, LATER)
    rows = steps.conn.execute("SELECT webhook_id, started_at FROM deliveries WHERE in_flight = 1")
    assert [tuple(row) for row in rows] == [(first.id, clock.text(LATER))]
