"""What a webhook's template makes of an event: fixed when the event is taken, kept with the delivery, gone with it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from almirant_webhooks.model import RESERVED_PROJECT, Outcome, Refused, State, Webhook
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.engine import FanOut, ReadPlan, Work
from almirant_webhooks.storage.sql import batch, deliveries, event, log, rendering, results, retention, search, webhooks
from almirant_webhooks.verify import verify_almirant

from ..support.signed import headers_sent
from ..support.steps import SCHEDULE, START, Steps, transaction

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
TEMPLATE = '{"text": "{{ data.title }}", "n": {{ data.n }}}'
LARGE = '{"text": "' + "{{ data.title }}" * 300 + '"}'
SECRET = "s" * 20


def _insert(steps: Steps, payload: str = '{"title": "a \\"b\\"", "n": 1.50}') -> None:
    steps.outbox_part.insert(steps.outbox, project_id="p", event_type="lead.created", payload=payload, event_id=None)


def _take(steps: Steps, *, begin: bool = False) -> FanOut:
    """Write a batch that takes all rows; with `begin` new deliveries begin at once."""
    work = Work(to_read=ReadPlan(100), take_slot=lambda webhook, served: begin)
    with transaction(steps.conn):
        fan_out = batch.write(steps.conn, work, SCHEDULE, START, steps.inside).fan_out
    assert fan_out is not None
    return fan_out


def _update(steps: Steps, webhook: Webhook, template: str | None) -> None:
    with transaction(steps.conn):
        webhooks.update(steps.conn, webhook.id, options={"template": template}, now=START)


def _kept(steps: Steps) -> list[str | None]:
    return [row[0] for row in steps.conn.execute(f"SELECT body FROM rendered_bodies ORDER BY {steps.row_order}")]


def _body(steps: Steps, delivery_id: str) -> str | None:
    return log.delivery(steps.conn, delivery_id)["body"]


def test_what_is_sent_and_signed_is_what_the_template_made(steps: Steps) -> None:
    """Where an attempt begins with its event, where it begins later, and at every attempt after that."""
    webhook = steps.webhook(options={"template": TEMPLATE})
    _insert(steps)
    (first,) = _take(steps, begin=True).claims
    _insert(steps)
    _take(steps)
    (second,) = steps.claim(webhook, START)
    steps.record(second, Outcome.HTTP_ERROR, START, status_code=500)
    (third,) = steps.claim(webhook, START + DAY)
    assert third.delivery_id == second.delivery_id
    for claim in (first, second, third):
        assert claim.body == b'{"text": "a \\"b\\"", "n": 1.50}'
        assert verify_almirant(claim.body, dict(headers_sent(claim))["X-Almirant-Signature"], SECRET)


def test_a_webhook_without_a_template_is_sent_the_events_own_body(steps: Steps) -> None:
    """Beside one that has one; nothing of it is kept, nor of a template that makes the same."""
    plain, other = steps.webhook(), steps.webhook(options={"template": "{{ data }}"}, url="https://example.com/2")
    _insert(steps)
    _take(steps)
    (own,), (made,) = steps.claim(plain, START), steps.claim(other, START)
    assert json.loads(own.body)["data"] == json.loads(made.body) == {"title": 'a "b"', "n": 1.5}
    assert _kept(steps) == [made.body.decode()]
    same = event.Event("e", "p", "lead.created", "t", "{}").body("t")
    bodies = rendering.Bodies()
    assert bodies.render("dlv_1", "{{ data }}", "{}") == "null"
    assert bodies.render("dlv_1", same, same) is same


@pytest.mark.parametrize("template", [None, '"other"', LARGE])
def test_a_body_stays_what_it_was_when_the_template_changes(steps: Steps, template: str | None) -> None:
    """For what waits, what is tried again, what is resent after it has arrived, and what a crash left open."""
    webhook = steps.webhook(options={"template": TEMPLATE})
    payload = json.dumps({"title": "x" * 1_000, "n": 1})
    for _ in range(2):
        _insert(steps, payload)
    (begun, _) = _take(steps, begin=True).claims
    _update(steps, webhook, template)
    with transaction(steps.conn):
        assert results.interrupt_open(steps.conn, SCHEDULE, START + SECOND) == 2
    shown = log.delivery(steps.conn, begun.delivery_id)
    assert shown["attempt_list"][0]["request_headers"] == headers_sent(begun)
    (again, other) = steps.claim(webhook, START + SECOND)
    assert again.body == other.body == begun.body == str(shown["body"]).encode()
    steps.record(again, Outcome.SUCCESS, START + SECOND, status_code=200)
    steps.resend(again.delivery_id, START + SECOND)
    (resent,) = steps.claim(webhook, START + SECOND)
    assert (resent.delivery_id, resent.body) == (again.delivery_id, begun.body)


def test_an_event_of_which_no_body_can_be_made_fails_without_an_attempt(steps: Steps) -> None:
    """It says why, makes one notice, and counts neither for health nor for other deliveries of the event."""
    operators = steps.webhook(project_id=RESERVED_PROJECT, events=["delivery.failed"], options={"template": TEMPLATE})
    webhook, other = steps.webhook(options={"template": LARGE}), steps.webhook(url="https://example.com/2")
    _insert(steps, json.dumps({"title": "x" * 1_000}))
    taken = _take(steps)
    assert (taken.deliveries, taken.due, len(taken.failed)) == (2, {other.id}, 1)
    (row,) = search.newest(steps.conn, Selection(webhook_id=webhook.id))
    assert (row["state"], row["attempts"], row["next_attempt_at"]) == (State.FAILED, 0, None)
    shown = log.delivery(steps.conn, row["delivery_id"])
    assert (shown["body"], shown["attempt_list"]) == (None, [])
    assert shown["failed_reason"] == "the body that the template makes of it is larger than 256 KiB"
    (outcomes,) = [
        outcome["verdict"]
        for outcome in log.event(steps.conn, row["event_id"])["outcomes"]
        if outcome["webhook_id"] == webhook.id
    ]
    assert outcomes.startswith("No request was made: the body that the template makes")
    (health,) = webhooks.health(steps.conn, webhook.id)
    assert (health["failed"], health["failures_in_a_row"], health["last_failure"]) == (1, 0, None)
    assert steps.claim(webhook, START + DAY) == []
    (notice,) = steps.claim(operators, START)
    assert notice.body == b'{"text": "", "n": null}'
    (body,) = steps.conn.execute("SELECT body FROM events WHERE project_id = ?", (RESERVED_PROJECT,)).fetchone()
    failed = json.loads(body)["data"]["delivery"]
    assert (failed["id"], failed["attempts"]) == (row["delivery_id"], 0)
    assert "larger than 256 KiB" in failed["lastAttempt"]["cause"]


def test_a_resend_makes_the_body_by_the_template_of_that_moment_until_that_succeeds(steps: Steps) -> None:
    """Then the bytes are fixed, whatever the template becomes."""
    webhook = steps.webhook(options={"template": LARGE})
    _insert(steps, json.dumps({"title": "x" * 1_000, "n": 2}))
    _take(steps)
    (row,) = search.newest(steps.conn)
    for template in (LARGE, LARGE.replace("text", "other")):
        _update(steps, webhook, template)
        steps.resend(row["delivery_id"], START)
        assert steps.claim(webhook, START) == []
        with pytest.raises(Refused, match="No request was made: the body that the template makes of it is larger"):
            deliveries.resend_done(steps.conn, row["delivery_id"])
        assert deliveries.first_due(steps.conn, [webhook.id]) == {}
    later: tuple[str | None, ...] = ('{"n": {{ data.n }}}', '"changed"', None)
    for changed in later:
        _update(steps, webhook, changed)
        steps.resend(row["delivery_id"], START)
        claim = steps.attempt(webhook, START, Outcome.HTTP_ERROR, status_code=500)
        assert claim.body == b'{"n": 2}'
    assert _body(steps, row["delivery_id"]) == '{"n": 2}'
    assert steps.only()["state"] == State.FAILED


def test_a_resend_without_a_template_sends_the_events_own_body(steps: Steps) -> None:
    """Nothing of the template is left."""
    webhook = steps.webhook(options={"template": LARGE})
    _insert(steps, json.dumps({"title": "x" * 1_000}))
    _take(steps)
    (row,) = search.newest(steps.conn)
    _update(steps, webhook, None)
    steps.resend(row["delivery_id"], START)
    claim = steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    assert json.loads(claim.body)["data"] == {"title": "x" * 1_000}
    shown = log.delivery(steps.conn, row["delivery_id"])
    assert (shown["body"], shown["failed_reason"], shown["state"]) == (claim.body.decode(), None, State.SUCCEEDED)
    assert _kept(steps) == []


def test_a_template_that_this_version_cannot_read_fails_its_deliveries_alone(steps: Steps) -> None:
    """As after a downgrade, or where somebody wrote into the table."""
    webhook, other = steps.webhook(options={"template": "}{"}), steps.webhook(url="https://example.com/2")
    _insert(steps)
    assert len(_take(steps).failed) == 1
    assert steps.claim(webhook, START) == []
    assert len(steps.claim(other, START)) == 1


def test_a_test_is_sent_what_the_template_makes_of_the_sample(steps: Steps) -> None:
    """One of which it makes nothing has failed, and no attempt waits."""
    webhook = steps.webhook(options={"template": TEMPLATE})
    with transaction(steps.conn):
        webhooks.request_test(steps.conn, webhook.id, "lead.created", '{"title": "t", "n": 0}', START)
    (claim,) = steps.claim(webhook, START)
    assert (claim.body, claim.test) == (b'{"text": "t", "n": 0}', True)
    steps.record(claim, Outcome.SUCCESS, START, status_code=200)
    _update(steps, webhook, LARGE)
    with transaction(steps.conn):
        test = webhooks.request_test(steps.conn, webhook.id, "lead.created", json.dumps({"title": "x" * 1_000}), START)
    assert steps.claim(webhook, START) == []
    shown = log.delivery(steps.conn, test)
    assert (shown["state"], shown["body"], shown["resend_requested_at"]) == (State.FAILED, None, None)


def test_bodies_go_with_their_deliveries(steps: Steps) -> None:
    """When they are pruned, and when their webhook is deleted."""
    first = steps.webhook(options={"template": TEMPLATE})
    second = steps.webhook(options={"template": LARGE}, url="https://example.com/2")
    _insert(steps, json.dumps({"title": "x" * 1_000}))
    _take(steps)
    steps.attempt(first, START, Outcome.SUCCESS, status_code=200)
    assert len(_kept(steps)) == 2
    sweep = retention.Sweep(succeeded=DAY, failed=3 * DAY, now=START + 2 * DAY)
    with transaction(steps.conn):
        while sweep.step(steps.conn, 50):
            pass
    assert _kept(steps) == [None]
    with transaction(steps.conn):
        webhooks.delete(steps.conn, second.id, START)
    with transaction(steps.conn):
        while deliveries.erase_deleted(steps.conn, 50):
            pass
    assert _kept(steps) == []


def test_a_text_is_looked_for_in_what_was_sent_too(steps: Steps) -> None:
    """And in the event's own body, of which it was made."""
    steps.webhook(options={"template": '{"text": "Título: {{ data.title }}"}'})
    _insert(steps, '{"title": "S\\u00f8ren", "hidden": "only here"}')
    _take(steps)
    for text, count in (("título: søren", 1), ("only here", 1), ("nowhere", 0)):
        assert len(search.newest(steps.conn, Selection(text=text))) == count


def test_no_transaction_renders_much_more_than_a_mebibyte(steps: Steps) -> None:
    """What is left is taken by the next one."""
    steps.webhook(options={"template": '"' + "{{ data.title }}" * 200 + '"'})
    for _ in range(10):
        _insert(steps, json.dumps({"title": "x" * 1_000}))
    taken: list[int] = []
    while not taken or taken[-1]:
        rows = Work(to_read=ReadPlan(100))
        with transaction(steps.conn):
            fan_out = batch.write(steps.conn, rows, SCHEDULE, START, steps.inside).fan_out
        taken.append(fan_out.events if fan_out else 0)
    assert taken == [6, 4, 0]
