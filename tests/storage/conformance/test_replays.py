"""`Replays` and `LaterDeliveries`: what a webhook that lacks events may count on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from almirant_webhooks.model import NotFound, Outcome, Refused, Trigger, Webhook
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.rules.selection import EventSelection
from almirant_webhooks.storage.engine import FIRST_RESEND
from almirant_webhooks.storage.records import Progress, ResendKind

from .engines import START, Engine

KEPT = timedelta(days=30)
NOW = START + timedelta(hours=1)


def _late(engine: Engine, count: int) -> Webhook:
    """Take events, and make a webhook that has none of them."""
    for _ in range(count):
        engine.insert()
        engine.take()
    return engine.webhook(NOW)


def _begin(engine: Engine, webhook: Webhook) -> str:
    selection = ReplaySelection(webhook.id, START - KEPT)
    counted = engine.actions.replays.count(engine.session, selection, now=NOW, kept=KEPT)
    with engine.deliveries.transaction(engine.session):
        return engine.actions.replays.start(engine.session, selection, counted, actor="a", now=NOW)


def _step(engine: Engine) -> list[str]:
    with engine.deliveries.transaction(engine.session):
        return engine.resending.step(engine.session, NOW, FIRST_RESEND, kept=KEPT).finished


def test_a_replay_sends_each_event_once_in_the_order_of_their_taking(engine: Engine) -> None:
    """By attempts on schedule, behind what is due; it is shown among the resends, and over once all have begun."""
    webhook = _late(engine, 3)
    replay = _begin(engine, webhook)
    with pytest.raises(Refused, match="under way"):
        _begin(engine, webhook)
    _step(engine)
    engine.insert()
    engine.take(NOW)
    claims = engine.claim(webhook, NOW)
    assert {claim.trigger for claim in claims} == {Trigger.SCHEDULED}
    page = engine.reading.log.events(engine.session, EventSelection(), limit=10, cursor=None)
    newest, *replayed = [event["event_id"] for event in page.items]
    assert [claim.event_id for claim in claims] == [newest, *reversed(replayed)]
    engine.record(claims, Outcome.SUCCESS, NOW)
    finished: list[str] = []
    while engine.resending.under_way(engine.session):
        finished += _step(engine)
    assert finished == [replay]
    shown = engine.reading.resends.get(engine.session, replay)
    assert (shown["kind"], shown["state"], shown["succeeded"]) == (ResendKind.REPLAY, Progress.FINISHED, 3)
    with pytest.raises(Refused, match="nothing to replay"):
        _begin(engine, webhook)


def test_a_replay_that_is_cancelled_sends_nothing_more(engine: Engine) -> None:
    """From the commit on."""
    webhook = _late(engine, 2)
    replay = _begin(engine, webhook)
    _step(engine)
    with engine.deliveries.transaction(engine.session):
        engine.actions.resends.cancel(engine.session, replay, actor="a", now=NOW)
    assert engine.claim(webhook, NOW) == []


def test_one_event_is_sent_to_one_webhook_once(engine: Engine) -> None:
    """At once; a second time is refused, and so is a disabled webhook."""
    webhook, off = _late(engine, 1), engine.webhook(NOW)
    engine.disable(off, NOW)
    page = engine.reading.log.events(engine.session, EventSelection(), limit=1, cursor=None)
    event = page.items[0]["event_id"]

    def send(to: Webhook, project: str = "p") -> str:
        with engine.deliveries.transaction(engine.session):
            return engine.actions.later.send_to(engine.session, project, event, to.id, NOW, actor="a")

    delivery = send(webhook)
    assert [claim.delivery_id for claim in engine.claim(webhook, NOW)] == [delivery]
    with pytest.raises(Refused, match=delivery):
        send(webhook)
    with pytest.raises(Refused, match="disabled"):
        send(off)
    with pytest.raises(NotFound):
        send(webhook, "q")
