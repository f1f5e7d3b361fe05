"""`ActionStore` and `ResendingStore`: what people's actions, and resends of many, may count on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from almirant_webhooks.model import Conflict, NotFound, Outcome, Refused, Webhook
from almirant_webhooks.rules.selection import AuditSelection, Selection
from almirant_webhooks.storage.engine import FIRST_RESEND
from almirant_webhooks.storage.records import Progress

from .engines import START, Engine, text

HOUR = timedelta(hours=1)


def _failed(engine: Engine, webhook: Webhook, count: int = 1) -> None:
    """Have deliveries of a webhook fail for good."""
    for _ in range(count):
        engine.insert()
        engine.take()
    for hours in range(3):
        engine.record(engine.claim(webhook, START + hours * HOUR), Outcome.HTTP_ERROR, START + hours * HOUR)


def _trail(engine: Engine) -> list[str]:
    entries = engine.reading.audit.entries(engine.session, AuditSelection(), limit=100)
    return [entry["action"] for entry in entries]


def test_a_change_is_atomic_with_its_entry_in_the_trail(engine: Engine) -> None:
    """What raises has left neither."""
    webhook = engine.webhook()

    def disable_and_fail() -> None:
        with engine.deliveries.transaction(engine.session):
            engine.actions.webhooks.disable(engine.session, webhook.id, START, actor="a")
            assert _trail(engine)[0] == "webhook.disabled"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        disable_and_fail()
    assert engine.actions.webhooks.get(engine.session, webhook.id).enabled
    assert _trail(engine) == ["webhook.created"]


def test_what_a_disabled_webhook_holds_goes_out_or_is_discarded(engine: Engine) -> None:
    """Nothing is claimed for it meanwhile; what is discarded is cancelled at once."""
    webhooks, session = engine.actions.webhooks, engine.session
    for discard in (False, True):
        webhook = engine.webhook(project_id=f"p{discard}")
        with engine.deliveries.transaction(session):
            webhooks.disable(session, webhook.id, START, actor="a")
        engine.insert(webhook.project_id)
        engine.take()
        assert (engine.actions.held.count(session, webhook.id), engine.claim(webhook)) == (1, [])
        with engine.deliveries.transaction(session):
            webhooks.enable(session, webhook.id, discard_held=discard, now=START, actor="a", count=1)
        (row,) = engine.reading.search.newest(session, Selection(webhook_id=webhook.id), limit=10)
        assert row["state"] == ("cancelled" if discard else "pending")
        assert len(engine.claim(webhook)) == (0 if discard else 1)


def test_a_project_has_no_more_webhooks_than_its_limit(engine: Engine) -> None:
    """And a deleted one leaves its place."""
    first = engine.webhook(limit=1)
    with pytest.raises(Refused, match="has 1 webhooks, and a project may have 1"):
        engine.webhook(limit=1)
    engine.delete(first)
    assert engine.webhook(limit=1)
    with pytest.raises(NotFound):
        engine.actions.webhooks.get(engine.session, first.id)


def test_a_new_secret_signs_from_its_switch_on(engine: Engine) -> None:
    """Until then it can be taken back; who looks is written down."""
    webhook, secrets, session = engine.webhook(), engine.actions.secrets, engine.session
    with engine.deliveries.transaction(session):
        secrets.start(session, webhook.id, secret="n" * 20, switch_at=START + HOUR, actor="a", now=START)
        before = secrets.reveal(session, webhook.id, actor="a", now=START)
        after = secrets.reveal(session, webhook.id, actor="a", now=START + HOUR)
    assert (before.current, before.next, after.current) == ("s" * 20, "n" * 20, "n" * 20)
    assert _trail(engine)[:3] == ["secret.revealed", "secret.revealed", "secret.rotated"]
    state = engine.reading.secrets.state(session, webhook.id, START)
    assert state is not None
    assert (state["switch_at"], state["switched"]) == (text(START + HOUR), False)
    with pytest.raises(Refused), engine.deliveries.transaction(session):
        secrets.cancel(session, webhook.id, actor="a", now=START + HOUR)
    with engine.deliveries.transaction(session):
        secrets.cancel(session, webhook.id, actor="a", now=START)
    assert engine.reading.secrets.state(session, webhook.id, START) is None


def test_a_delivery_is_asked_for_once_until_it_was_attempted(engine: Engine) -> None:
    """A second request says that one waits already."""
    webhook, session = engine.webhook(), engine.session
    _failed(engine, webhook)
    (row,) = engine.reading.search.newest(session, Selection(), limit=10)
    for asked in (True, False):
        with engine.deliveries.transaction(session):
            resend = engine.actions.deliveries.request_resend
            assert resend(session, row["delivery_id"], START + 4 * HOUR, actor="a") is asked
    assert engine.actions.projects.projects_of(session, [row["delivery_id"], "dlv_none"]) == {row["delivery_id"]: "p"}
    assert engine.reading.deliveries.resend_done(session, row["delivery_id"]) is None
    claims = engine.claim(webhook, START + 4 * HOUR)
    assert [claim.trigger for claim in claims] == ["manual"]
    engine.record(claims, Outcome.SUCCESS, START + 4 * HOUR)
    done = engine.reading.deliveries.resend_done(session, row["delivery_id"])
    assert done is not None
    assert done["outcome"] == Outcome.SUCCESS


def test_a_producer_s_token_opens_until_it_is_revoked(engine: Engine) -> None:
    """It is found by its digest, with its project."""
    tokens, session = engine.actions.tokens, engine.session
    with engine.deliveries.transaction(session):
        token_id = tokens.add(session, digest="d", project_id="p", actor="a", now=START)
    assert engine.reading.tokens.find(session, "d") == (token_id, "p")
    assert engine.reading.tokens.listed(session) == [{"id": token_id, "project_id": "p", "created_at": text(START)}]
    with engine.deliveries.transaction(session):
        tokens.revoke(session, token_id, actor="a", now=START)
    assert engine.reading.tokens.find(session, "d") is None
    with pytest.raises(NotFound), engine.deliveries.transaction(session):
        tokens.revoke(session, token_id, actor="a", now=START)


def test_an_event_that_is_inserted_twice_is_one(engine: Engine) -> None:
    """With other content it is a conflict."""
    for payload in ("{}", "{}"):
        assert _insert(engine, payload) == "evt_1"
    with pytest.raises(Conflict):
        _insert(engine, '{"a": 1}')
    assert engine.take().events == 1


def _insert(engine: Engine, payload: str) -> str:
    values = {"project_id": "p", "event_type": "lead.created", "payload": payload, "event_id": "evt_1"}
    return engine.actions.events.insert(engine.outbox_session, **values, wait=1.0)


def _begin_resend(engine: Engine) -> str:
    selection = Selection(state="failed")
    counts = engine.actions.resends.count(engine.session, selection)
    with engine.deliveries.transaction(engine.session):
        return engine.actions.resends.start(engine.session, selection, counts, actor="a", now=START + 4 * HOUR)


def _step(engine: Engine) -> list[str]:
    """Take a step of all resends; those that are finished by it."""
    with engine.deliveries.transaction(engine.session):
        return engine.resending.step(engine.session, START + 4 * HOUR, FIRST_RESEND, kept=720 * HOUR).finished


def test_a_resend_of_many_sends_each_delivery_once(engine: Engine) -> None:
    """Its progress tells how far it is, and it is over when all were attempted."""
    webhook, session = engine.webhook(), engine.session
    _failed(engine, webhook, 3)
    assert not engine.resending.under_way(session)
    resend_id = _begin_resend(engine)
    with pytest.raises(Refused, match="under way"):
        _begin_resend(engine)
    assert engine.resending.under_way(session)
    assert _step(engine) == []
    claims = engine.claim(webhook, START + 4 * HOUR)
    assert len(claims) == 3
    engine.record(claims, Outcome.SUCCESS, START + 4 * HOUR)
    finished: list[str] = []
    while engine.resending.under_way(session):
        finished += _step(engine)
    assert finished == [resend_id]
    resend = engine.reading.resends.get(session, resend_id)
    assert (resend["matched"], resend["requested"], resend["waiting"], resend["succeeded"]) == (3, 3, 0, 3)
    assert (resend["state"], engine.claim(webhook, START + 5 * HOUR)) == (Progress.FINISHED, [])


def test_a_step_tells_what_is_due_by_it(engine: Engine) -> None:
    """So that the loop need not look for it."""
    webhook = engine.webhook()
    _failed(engine, webhook)
    _begin_resend(engine)
    with engine.deliveries.transaction(engine.session):
        step = engine.resending.step(engine.session, START + 4 * HOUR, FIRST_RESEND, kept=720 * HOUR)
    assert step.touched == set(step.due) == {webhook.id}
    assert step.due[webhook.id].project_id == "p"


def test_a_resend_that_is_cancelled_sends_nothing_more(engine: Engine) -> None:
    """From the commit on; a second time is refused."""
    webhook, session = engine.webhook(), engine.session
    _failed(engine, webhook, 2)
    resend_id = _begin_resend(engine)
    _step(engine)
    with engine.deliveries.transaction(session):
        engine.actions.resends.cancel(session, resend_id, actor="a", now=START + 4 * HOUR)
    assert engine.claim(webhook, START + 5 * HOUR) == []
    while engine.resending.under_way(session):
        _step(engine)
    assert engine.actions.resends.get(session, resend_id)["state"] == Progress.CANCELLED
    with pytest.raises(Refused), engine.deliveries.transaction(session):
        engine.actions.resends.cancel(session, resend_id, actor="a", now=START + 4 * HOUR)
