"""`PruningStore` and `ObservingStore`: bounded steps, and counts."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from almirant_webhooks.model import Outcome
from almirant_webhooks.storage.engine import TOLD_AT_ONCE, Disabled, TriggerFails, Walk

from .engines import SCHEDULE, START, Engine, text

DAY = timedelta(days=1)


def test_rows_that_were_taken_before_a_time_are_deleted_a_few_at_a_time(engine: Engine) -> None:
    """And no others."""
    engine.insert("a", "a", "a")
    engine.take(START)
    engine.insert("b")
    engine.take(START + DAY)
    engine.insert("c")
    gone = [_prune(engine) for _ in range(3)]
    assert gone == [2, 1, 0]
    assert len(engine.answers()) == 2


def _prune(engine: Engine) -> int:
    with engine.actions.transaction(engine.outbox_session, 5.0):
        return engine.pruning.prune_outbox(engine.outbox_session, START + DAY / 2, 2)


def test_a_trigger_that_keeps_rows_is_named(engine: Engine) -> None:
    """Nothing was deleted."""
    engine.insert()
    engine.take()
    engine.keep_rows()
    with pytest.raises(TriggerFails, match="keeps"):
        _prune(engine)
    assert len(engine.answers()) == 1


def test_a_deleted_webhook_is_erased_step_by_step(engine: Engine) -> None:
    """Until a step has nothing left."""
    webhook = engine.webhook()
    for _ in range(5):
        engine.insert()
    engine.take()
    engine.record(engine.claim(webhook), Outcome.SUCCESS)
    engine.delete(webhook)
    steps: list[int] = []
    while not steps or steps[-1]:
        with engine.deliveries.transaction(engine.session):
            steps.append(engine.pruning.erase_deleted(engine.session, 2))
    assert max(steps) <= 2
    assert engine.attempts() == []
    assert engine.deliveries.first_due_after(engine.session, "", 10) == ([], {})


def test_the_log_is_kept_for_as_long_as_it_says(engine: Engine) -> None:
    """Deliveries that have ended, with their attempts and events; what waits stays."""
    webhook = engine.webhook()
    engine.insert()
    engine.take()
    engine.record(engine.claim(webhook), Outcome.SUCCESS)
    engine.insert()
    engine.take()
    walk = engine.pruning.log(succeeded=30 * DAY, failed=90 * DAY, now=START + 29 * DAY)
    _finish(engine, walk)
    assert engine.attempts() == [(1, "success")]
    walk = engine.pruning.log(succeeded=30 * DAY, failed=90 * DAY, now=START + 31 * DAY)
    _finish(engine, walk)
    assert engine.attempts() == []
    assert walk.removed["deliveries"] == 1
    assert engine.observing.pending(engine.session, START)["due"] == 1


def _finish(engine: Engine, walk: Walk) -> None:
    more = True
    while more:
        with engine.deliveries.transaction(engine.session):
            more = walk.step(engine.session, 10)


@pytest.mark.long
def test_projects_are_told_of_failed_deliveries_in_steps_and_of_each_webhook_once_a_minute(engine: Engine) -> None:
    """A step tells of `TOLD_AT_ONCE` webhooks; what fails meanwhile is counted and comes a minute later."""
    channel = engine.webhook(events=["almirant.*"])
    webhooks = [engine.webhook(events=["lead.*"]) for _ in range(TOLD_AT_ONCE + 1)]

    def give_up(at: datetime) -> datetime:
        engine.insert()
        engine.take(at)
        for wait in SCHEDULE.waits:
            at += wait
            for webhook in webhooks:
                engine.record(engine.claim(webhook, at), Outcome.HTTP_ERROR, at)
        return at

    def tell(at: datetime) -> list[set[str]]:
        touched: list[set[str]] = []
        while engine.observing.has_failed_to_tell(engine.session, at):
            with engine.deliveries.transaction(engine.session):
                touched.append(engine.observing.tell_failed(engine.session, at))
        return touched

    first = give_up(START)
    assert tell(first) == [{channel.id}, {channel.id}]
    assert tell(first) == []
    assert engine.due(channel) == text(first)
    begun = len(engine.claim(channel, first, count=100))
    assert begun == len(webhooks)
    second = give_up(first)
    assert len(tell(second)) == 2


def test_a_webhook_that_has_failed_everything_for_long_is_disabled_and_both_sides_are_told(engine: Engine) -> None:
    """From its first failure to its newest one, a delivery that failed for good among them; nothing is claimed from then on."""
    channel, operators = engine.webhook(events=["almirant.*"]), engine.webhook(project_id="almirant")
    webhook, well = engine.webhook(events=["lead.*"]), engine.webhook(events=["lead.*"])
    engine.insert()
    engine.take()
    at = START
    for wait in SCHEDULE.waits:
        at += wait
        engine.record(engine.claim(webhook, at), Outcome.TIMEOUT, at)
        engine.record(engine.claim(well, at), Outcome.SUCCESS, at)

    def disable(after: timedelta) -> Disabled:
        with engine.deliveries.transaction(engine.session):
            return engine.observing.disable_down(engine.session, after, at)

    span = at - START
    assert disable(span + timedelta(milliseconds=1)) == ([], set())
    before = engine.deliveries.revision(engine.session)
    webhooks, touched = disable(span)
    assert [(change.webhook_id, change.since) for change in webhooks] == [(webhook.id, text(START))]
    assert touched == {channel.id, operators.id}
    assert engine.deliveries.revision(engine.session) > before
    assert disable(span) == ([], set())
    engine.insert()
    engine.take(at)
    assert engine.claim(webhook, at) == []
    assert len(engine.claim(well, at)) == 1


def test_what_waits_is_counted(engine: Engine) -> None:
    """What is due and since when, what is scheduled, and what is unread."""
    webhook = engine.webhook()
    engine.insert("p", "p")
    engine.take()
    engine.record(engine.claim(webhook, count=1), Outcome.HTTP_ERROR)
    engine.insert()
    found = engine.observing.pending(engine.session, START + timedelta(seconds=5))
    assert {name: found[name] for name in ("due", "scheduled", "held")} == {"due": 1, "scheduled": 1, "held": 0}
    assert found["oldest_due_seconds"] == 5.0
    assert engine.observing.webhooks(engine.session) == {"enabled": 1, "disabled": 0, "failing": 0}
    outbox = engine.observing.outbox(engine.outbox_session, START)
    assert (outbox["unread"], outbox["rejected"]) == (1, 0)
    assert engine.observing.unread_rows(engine.outbox_session) == (3, 3)
