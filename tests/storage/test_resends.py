"""Many resends at once: the button that people come for after an overnight outage."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, NotFound, Outcome, Refused, Result, Trigger, Webhook
from almirant_webhooks.rules.selection import AuditSelection, Selection
from almirant_webhooks.storage.engine import FIRST_RESEND, ReadPlan
from almirant_webhooks.storage.sql import (
    audit,
    claiming,
    deliveries,
    fanout,
    resend_steps,
    resends,
    results,
    search,
    webhooks,
)

from ..conftest import Receiver
from ..support.service import Service
from ..support.steps import SCHEDULE, START, Steps, new_numbers, transaction

LATER = START + timedelta(hours=12)


def fail(there: Steps, webhook: Webhook, count: int) -> None:
    """Make deliveries of a webhook, and fail every one for good."""
    with transaction(there.outbox):
        there.outbox.executemany(
            "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', ?)",
            [(f'{{"n": {number}}}',) for number in range(count)],
        )
    while rows := there.unread(ReadPlan(500)):
        with transaction(there.conn):
            done = fanout.fan_out(there.conn, rows, timedelta(0), START)
        there.mark(done)
    at = START
    for _ in range(5):
        with transaction(there.conn):
            claims = claiming.claim(there.conn, {webhook.id: count}, at)
            ended = [Result(claim, Outcome.HTTP_ERROR, at, 5, 503, "the receiver answered 503") for claim in claims]
            results.record(there.conn, ended, SCHEDULE)
        at += timedelta(hours=2)
    assert len(search.newest(there.conn, Selection(state="failed", webhook_id=webhook.id), limit=count + 1)) == count


def begin(there: Steps, **filters: Any) -> str:
    selection = Selection(**filters)
    counts = resends.count(there.conn, selection)
    with transaction(there.conn):
        return resends.start(there.conn, selection, counts, actor="operator", now=LATER)


def take(there: Steps, webhook: Webhook, count: int = 1000, now: datetime = LATER) -> list[Claim]:
    with transaction(there.conn):
        return claiming.claim(there.conn, {webhook.id: count}, now)


def advance(there: Steps) -> list[str]:
    with transaction(there.conn):
        return resend_steps.step(there.conn, LATER).finished


def test_each_delivery_is_resent_once_a_few_at_a_time_over_restarts(steps: Steps) -> None:
    """A second step asks for nothing twice; a new process goes on where the last one was."""
    webhook = steps.webhook()
    fail(steps, webhook, 450)
    resend = begin(steps, state="failed")
    sent: Counter[str] = Counter()
    while not advance(steps):
        advance(steps)
        claims = take(steps, webhook)
        assert 0 < len(claims) <= resend_steps.WAITING
        sent.update(claim.delivery_id for claim in claims)
        with transaction(steps.conn):
            results.record(steps.conn, [Result(one, Outcome.SUCCESS, LATER, 5, 200) for one in claims], SCHEDULE)
        steps.reopen()
    assert set(sent.values()) == {1}
    found = resends.get(steps.conn, resend)
    names = ("state", "matched", "requested", "waiting", "succeeded")
    assert [dict(found)[name] for name in names] == ["finished", 450, 450, 0, 450]
    assert len(sent) == 450
    assert not resend_steps.under_way(steps.conn)


def test_fresh_events_and_single_resends_go_first(steps: Steps) -> None:
    """However many wait to be resent."""
    webhook = steps.webhook()
    fail(steps, webhook, 30)
    begin(steps, webhook_id=webhook.id)
    advance(steps)
    steps.event(LATER)
    single = search.newest(steps.conn, Selection(state="failed"))[0]["delivery_id"]
    assert steps.resend(single, LATER)
    assert not steps.resend(single, LATER)
    first, second, third = take(steps, webhook, count=3)
    assert (first.delivery_id, first.trigger) == (single, Trigger.MANUAL)
    assert (second.trigger, second.number) == (Trigger.SCHEDULED, 1)
    assert (third.trigger, third.number) == (Trigger.MANUAL, 6)


def test_the_filters_are_those_of_the_log_and_what_cannot_be_resent_is_not_counted(steps: Steps) -> None:
    """Not those of disabled and deleted webhooks, no tests, and nothing that waits for its first attempt."""
    one, off, gone = steps.webhook(), steps.webhook(events=["lead.*"]), steps.webhook(events=["lead.*"])
    fail(steps, one, 3)
    with transaction(steps.conn):
        test = webhooks.request_test(steps.conn, one.id, "lead.created", "{}", START)
    (claim,) = take(steps, one, now=START)
    assert claim.delivery_id == test
    steps.record(claim, Outcome.HTTP_ERROR, START, status_code=500)
    for webhook in (off, gone):
        for other in take(steps, webhook, now=START):
            steps.record(other, Outcome.HTTP_ERROR, START, status_code=500)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, off.id, START)
        webhooks.delete(steps.conn, gone.id, START)
    steps.event(LATER)
    assert resends.count(steps.conn, Selection()) == {one.id: 3}
    for filters, count in (
        ({"state": "failed", "project_id": "p"}, 3),
        ({"status": "5xx", "cause": "ANSWERED 503", "event_type": "lead.created"}, 3),
        ({"status": "200"}, 0),
        ({"project_id": "q"}, 0),
        ({"until": START}, 0),
        ({"since": START, "until": LATER}, 3),
    ):
        assert sum(resends.count(steps.conn, Selection(**filters)).values()) == count, filters
    with pytest.raises(Refused, match="nothing to resend"):
        begin(steps, status="200")
    begin(steps, since=START, until=LATER, status="5xx")
    advance(steps)
    assert Counter(claim.trigger for claim in take(steps, one)) == {Trigger.MANUAL: 3, Trigger.SCHEDULED: 1}


def test_a_cancel_takes_back_what_waits_and_leaves_what_is_in_flight(steps: Steps) -> None:
    """Nothing is asked for after it, and a second one is refused."""
    webhook = steps.webhook()
    fail(steps, webhook, 20)
    resend = begin(steps, state="failed")
    advance(steps)
    (in_flight,) = take(steps, webhook, count=1)
    with transaction(steps.conn):
        resends.cancel(steps.conn, resend, actor="operator", now=LATER)
    assert take(steps, webhook) == []
    steps.record(in_flight, Outcome.SUCCESS, LATER, status_code=200)
    advance(steps)
    assert take(steps, webhook) == []
    found = resends.get(steps.conn, resend)
    names = ("state", "matched", "requested", "waiting", "succeeded")
    assert [dict(found)[name] for name in names] == ["cancelled", 20, 1, 0, 1]
    with pytest.raises(Refused, match="is over"), transaction(steps.conn):
        resends.cancel(steps.conn, resend, actor="operator", now=LATER)
    with pytest.raises(NotFound):
        resends.get(steps.conn, "rsd_0")


def test_a_deleted_webhook_ends_its_part_and_a_disabled_one_holds_it(steps: Steps) -> None:
    """Enabled again it goes on; what was created after the resend was asked for is not part of it."""
    webhook = steps.webhook()
    fail(steps, webhook, 3)
    begin(steps, project_id="p")
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, LATER)
    assert advance(steps) == []
    assert take(steps, webhook) == []
    with transaction(steps.conn):
        webhooks.enable(steps.conn, webhook.id, discard_held=False, now=LATER)
    advance(steps)
    assert len(take(steps, webhook)) == 3
    with transaction(steps.conn):
        webhooks.delete(steps.conn, webhook.id, LATER)
    assert len(advance(steps)) == 1
    while True:
        with transaction(steps.conn):
            if not deliveries.erase_deleted(steps.conn, 100):
                break
    assert steps.conn.execute("SELECT count(*) FROM resend_webhooks").fetchone()[0] == 0
    with transaction(steps.conn):
        assert resend_steps.prune(steps.conn, LATER + timedelta(days=1)) == (1, False)


def of_many(there: Steps, count: int) -> str:
    """Begin a resend of a failed delivery at each of many webhooks of two projects."""
    for number in range(count):
        there.webhook(project_id=f"p{number % 2}", limit=count)
    written = clock.text(START)
    with transaction(there.conn):
        (seq,) = new_numbers(there.conn, 1)
        there.conn.execute(
            "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) "
            "VALUES (?, 'evt_1', 'p', 'lead.created', ?, ?, '{}')",
            (seq, written, written),
        )
        there.conn.execute(
            "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, created_at) "
            "SELECT 'dlv_' || substr(id, 4), ?, 'evt_1', id, 'failed', ? FROM webhooks",
            (seq, written),
        )
        for (rowid,) in there.conn.execute("SELECT rowid FROM deliveries").fetchall():
            there.conn.execute("UPDATE deliveries SET id = ? WHERE rowid = ?", (f"dlv_{rowid:012x}", rowid))
    return begin(there, state="failed")


def noted(there: Steps, action: str) -> list[str]:
    return sorted(entry["project_id"] for entry in audit.entries(there.conn, AuditSelection(action=action), limit=1000))


def test_a_resend_at_very_many_webhooks_is_begun_and_gone_through_some_at_a_time(steps: Steps) -> None:
    """Each has its turn, its numbers are right from the begin, and each project's trail has it once."""
    resend = of_many(steps, 250)
    found = resends.get(steps.conn, resend)
    assert (found["matched"], found["requested"], found["state"]) == (250, 0, "running")
    assert steps.conn.execute("SELECT count(*) FROM resend_webhooks").fetchone()[0] == resend_steps.STEP_PARTS
    asked: list[int] = []
    reached = FIRST_RESEND
    while sum(asked) < 250:
        with transaction(steps.conn):
            step = resend_steps.step(steps.conn, LATER, reached)
        reached = step.reached
        asked.append(len(step.touched))
    assert max(asked) <= resend_steps.STEP_PARTS
    assert resends.get(steps.conn, resend)["requested"] == 250
    assert noted(steps, "resend.started") == ["p0", "p1"]


def test_a_cancel_at_very_many_webhooks_is_taken_back_in_steps_and_nothing_of_it_is_claimed(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are right at once; each project's trail has it once, by whom."""
    resend = of_many(steps, 150)
    reached = FIRST_RESEND
    while resends.get(steps.conn, resend)["requested"] < 150:
        with transaction(steps.conn):
            reached = resend_steps.step(steps.conn, LATER, reached).reached
    monkeypatch.setattr(resends, "STEP_LOOKS", 10)
    with transaction(steps.conn):
        resends.cancel(steps.conn, resend, actor="somebody", now=LATER)
    waiting = "SELECT DISTINCT webhook_id FROM deliveries WHERE resend_requested_at IS NOT NULL"
    left = [row[0] for row in steps.conn.execute(waiting)]
    assert len(left) == 140
    assert deliveries.first_due_after(steps.conn, "", 500)[1] == {}
    with transaction(steps.conn):
        assert claiming.claim(steps.conn, dict.fromkeys(left, 1), LATER) == []
    names = ("state", "matched", "requested", "waiting")
    assert [dict(resends.get(steps.conn, resend))[name] for name in names] == ["cancelled", 150, 0, 0]
    while resend_steps.under_way(steps.conn):
        advance(steps)
    assert steps.conn.execute(waiting).fetchall() == []
    assert [dict(resends.get(steps.conn, resend))[name] for name in names] == ["cancelled", 150, 0, 0]
    assert noted(steps, "resend.cancelled") == ["p0", "p1"]
    assert {one["actor"] for one in audit.entries(steps.conn, AuditSelection(action="resend.cancelled"))} == {
        "somebody"
    }


async def test_after_an_outage_one_command_brings_everything(
    service: Service, receiver: Receiver, tmp_path: Any
) -> None:
    """Counted, asked for with the daemon stopped, sent at its start, and followed to its end."""
    service.options["delivery"] = {"retry_schedule": ["0s"]}
    receiver.status = 503
    await service.start()
    webhook = service.webhook(receiver.url)
    ids = service.insert(*({"n": number} for number in range(40)))
    await service.until(lambda: len(service.log(state="failed")) == 40)
    await service.stop()
    receiver.status = 200
    receiver.requests.clear()
    there = service.shell(tmp_path)
    chosen = ("delivery", "resend", "--webhook", webhook.id, "--status", "503", "--since", "1h")
    counted = json.loads(there.ours(*chosen, "--dry-run", "--json"))
    assert counted == {"deliveries": 40, "webhooks": {webhook.id: 40}}
    assert "say --yes" in there.ours(*chosen, code=1)
    resend = json.loads(there.ours(*chosen, "--yes", "--json"))["resend_id"]
    assert json.loads(there.ours("delivery", "resends", "--json"))[0]["state"] == "running"
    await service.start()
    await service.until(lambda: json.loads(there.ours("delivery", "resends", resend, "--json"))["state"] == "finished")
    assert sorted(json.loads(request.body)["id"] for request in receiver.requests) == sorted(ids)
    found = json.loads(there.ours("delivery", "resends", resend, "--json"))
    assert (found["succeeded"], found["filters"]["status"]) == (40, "503")
    assert "is over" in there.ours("delivery", "resends", resend, "--cancel", code=1)
    assert "nothing to resend" in there.ours("delivery", "resend", "--state", "failed", "--yes", code=1)
    there.ours("delivery", "resend", code=2)
    there.ours("delivery", "resend", "dlv_1", "--state", "failed", code=2)
