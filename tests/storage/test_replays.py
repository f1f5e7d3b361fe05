"""Replays: a webhook that was created late, or subscribed to too little, misses nothing that is still kept."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, NotFound, Outcome, Refused, Trigger, Webhook
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.rules.selection import AuditSelection, Selection
from almirant_webhooks.storage.sql import (
    audit,
    claiming,
    deliveries,
    held,
    later_deliveries,
    log,
    replay_steps,
    replays,
    resend_steps,
    resends,
    retention,
    search,
    webhooks,
)

from ..support.steps import START, Steps, new_numbers, transaction

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
KEPT = 30 * DAY
NOW = START + DAY


def events(there: Steps, count: int, since: datetime = START, kind: str = "lead.created", project: str = "p") -> None:
    """Take events, a second apart, for the webhooks there are."""
    with transaction(there.conn):
        there_are = there.conn.execute("SELECT count(*) FROM events").fetchone()[0]
        for number, seq in enumerate(new_numbers(there.conn, count), 1):
            at = clock.text(since + timedelta(seconds=number))
            there.conn.execute(
                "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) "
                "VALUES (?, ?, ?, ?, ?, ?, '{}')",
                (seq, f"evt_{there_are + number}", project, kind, at, at),
            )


def selected(webhook: Webhook, since: datetime = START - DAY, **more: Any) -> ReplaySelection:
    return ReplaySelection(webhook.id, since, **more)


def count(there: Steps, selection: ReplaySelection, now: datetime = NOW, kept: timedelta = KEPT) -> int:
    return replays.count(there.conn, selection, now=now, kept=kept)["events"]


def begin(there: Steps, selection: ReplaySelection, now: datetime = NOW, kept: timedelta = KEPT) -> str:
    counted = replays.count(there.conn, selection, now=now, kept=kept)
    with transaction(there.conn):
        return replays.start(there.conn, selection, counted, actor="somebody", now=now)


def advance(there: Steps, now: datetime = NOW, kept: timedelta = KEPT) -> list[str]:
    with transaction(there.conn):
        return resend_steps.step(there.conn, now, kept=kept).finished


def sent(there: Steps, webhook: Webhook, now: datetime = NOW) -> list[str]:
    """Send what may be sent, with success; return the events in the order of their requests."""
    claims = there.claim(webhook, now)
    for claim in claims:
        there.record(claim, Outcome.SUCCESS, now, status_code=200)
    return [claim.event_id for claim in claims]


def claim_one(there: Steps, webhook: Webhook) -> list[Claim]:
    with transaction(there.conn):
        return claiming.claim(there.conn, {webhook.id: 1}, NOW)


def progress(there: Steps, replay: str) -> list[object]:
    row = resends.get(there.conn, replay)
    return [row["state"], row["matched"], row["requested"], row["waiting"], row["succeeded"]]


def all_sent(there: Steps, webhook: Webhook) -> list[str]:
    """Let a replay run to its end, over a restart after each step."""
    requests: list[str] = []
    while not advance(there):
        requests += sent(there, webhook)
        there.reopen()
    return requests


def test_a_webhook_that_was_created_late_gets_each_kept_event_once_and_oldest_first(steps: Steps) -> None:
    """Over restarts; what has a delivery, another type, another project's and a test's are not sent."""
    early = steps.webhook()
    steps.event(START, kind="lead.updated")
    events(steps, 25)
    events(steps, 3, kind="sprint.closed")
    events(steps, 3, project="q")
    with transaction(steps.conn):
        webhooks.request_test(steps.conn, early.id, "lead.created", "{}", START)
    late = steps.webhook(now=NOW - HOUR, events=["lead.*"])
    replay = begin(steps, selected(late))
    requests = all_sent(steps, late)
    expected = [f"evt_{number}" for number in range(2, 27)]
    assert requests[1:] == expected
    assert len(set(requests)) == 26
    assert progress(steps, replay) == ["finished", 26, 26, 0, 26]
    assert count(steps, selected(late)) == 0
    assert count(steps, selected(early)) == 28, "no delivery of the others was made for it"


def test_a_replayed_delivery_is_like_any_other(steps: Steps) -> None:
    """Its attempts are scheduled ones, with the schedule's waits, until it succeeds or all are used up."""
    webhook = steps.webhook(now=NOW)
    events(steps, 1)
    replay = begin(steps, selected(webhook))
    advance(steps)
    at = NOW
    for number, wait in enumerate((timedelta(0), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), 2 * HOUR), 1):  # fmt: skip
        assert number == 1 or steps.claim(webhook, at + wait - timedelta(milliseconds=1)) == []
        at += wait
        (claim,) = steps.claim(webhook, at)
        assert (claim.number, claim.trigger) == (number, Trigger.SCHEDULED)
        steps.record(claim, Outcome.HTTP_ERROR, at, status_code=500)
        assert advance(steps, at) == ([replay] if number == 1 else [])
    assert steps.only()["state"] == "failed"
    assert progress(steps, replay) == ["finished", 1, 1, 0, 0]


def test_what_is_due_goes_first_at_any_moment_and_retries_of_what_was_replayed_are_due_as_any(steps: Steps) -> None:
    """An event that comes while a replay waits is sent before the rest of it, and so is a resend."""
    webhook = steps.webhook(now=NOW)
    events(steps, 4)
    begin(steps, selected(webhook))
    advance(steps)
    (first,) = claim_one(steps, webhook)
    steps.record(first, Outcome.HTTP_ERROR, NOW, status_code=500)
    (second,) = claim_one(steps, webhook)
    steps.record(second, Outcome.SUCCESS, NOW, status_code=200)
    later = NOW + HOUR
    steps.event(later)
    assert steps.resend(second.delivery_id, later)
    claims = steps.claim(webhook, later)
    assert [claim.event_id for claim in claims if claim.event_id in ("evt_3", "evt_4")] == ["evt_3", "evt_4"]
    assert [claim.event_id for claim in claims[:2]] == ["evt_2", "evt_1"], "the resend, and the retry that is due"
    assert [claim.event_id for claim in claims[3:]] == ["evt_3", "evt_4"]


def test_a_replayed_attempt_that_is_interrupted_is_made_again_at_once(steps: Steps) -> None:
    """And what has begun no longer waits in its replay."""
    webhook = steps.webhook(now=NOW)
    events(steps, 1)
    begin(steps, selected(webhook))
    advance(steps)
    steps.attempt(webhook, NOW, Outcome.INTERRUPTED)
    assert len(advance(steps)) == 1
    assert [claim.number for claim in steps.claim(webhook, NOW)] == [2]


def test_a_replay_beside_a_fan_out_of_the_same_event_makes_no_second_delivery(steps: Steps) -> None:
    """Whichever is first: the other one finds the delivery that is there."""
    webhook = steps.webhook()
    events(steps, 2)
    begin(steps, selected(webhook))
    steps.event(NOW)  # fanned out after the replay was counted
    with transaction(steps.conn):
        later_deliveries.send_to(steps.conn, "p", "evt_1", webhook.id, NOW, actor="somebody")
    advance(steps)
    rows = steps.conn.execute("SELECT event_seq, count(*) FROM deliveries GROUP BY 1").fetchall()
    assert [tuple(row) for row in rows] == [(1, 1), (2, 1), (3, 1)]


def test_a_second_replay_of_a_webhook_is_refused_until_the_first_is_over(steps: Steps) -> None:
    """A button that is pressed twice sends once; another webhook's is another one."""
    webhook, other = steps.webhook(now=NOW), steps.webhook(now=NOW)
    events(steps, 2)
    replay = begin(steps, selected(webhook))
    with pytest.raises(Refused, match=f"The replay {replay} of this webhook is under way already"):
        begin(steps, selected(webhook, since=START))
    begin(steps, selected(other))
    with transaction(steps.conn):
        resends.cancel(steps.conn, replay, actor="somebody", now=NOW)
    begin(steps, selected(webhook))


def test_a_replay_is_bounded_by_time_and_type_and_by_what_was_taken_when_it_was_asked_for(steps: Steps) -> None:
    """`since` is of it, `until` is not."""
    webhook = steps.webhook(now=NOW, events=["lead.*", "sprint.closed"])
    events(steps, 10)
    events(steps, 1, kind="sprint.closed")
    span = {"since": START + timedelta(seconds=3), "until": START + timedelta(seconds=6)}
    assert count(steps, selected(webhook, **span)) == 3
    assert count(steps, selected(webhook, event="sprint.*")) == 1
    assert count(steps, selected(webhook, event="*")) == 11
    assert count(steps, selected(webhook, event="work_item.*")) == 0
    begin(steps, selected(webhook, event="lead.created", **span))
    events(steps, 1, since=NOW)
    advance(steps)
    assert sent(steps, webhook) == ["evt_3", "evt_4", "evt_5"]
    advance(steps)
    with pytest.raises(Refused, match="nothing to replay"):
        begin(steps, selected(webhook, **span))


def test_each_step_uses_the_subscriptions_of_its_moment(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the webhook no longer subscribes to is not sent."""
    monkeypatch.setattr(replay_steps, "LOOKED_AT", 2)
    webhook = steps.webhook(now=NOW)
    events(steps, 2)
    events(steps, 1, since=START + HOUR, kind="sprint.closed")
    events(steps, 1, since=START + 2 * HOUR)
    begin(steps, selected(webhook))
    advance(steps)
    with transaction(steps.conn):
        webhooks.update(steps.conn, webhook.id, events=["sprint.*"], now=NOW)
    assert all_sent(steps, webhook) == ["evt_1", "evt_2", "evt_3"]


def test_it_reaches_back_as_far_as_no_delivery_can_have_been_removed(steps: Steps) -> None:
    """By the shorter time that deliveries are kept, and by what was removed under other settings; a younger webhook: all."""
    old, young = steps.webhook(now=START - 50 * DAY), steps.webhook(now=NOW)
    events(steps, 1, since=NOW - 40 * DAY)
    events(steps, 1, since=NOW - 10 * DAY)
    asked = NOW - 60 * DAY
    counted = replays.count(steps.conn, selected(old, since=asked), now=NOW, kept=KEPT)
    assert (counted["events"], counted["since"]) == (1, clock.text(NOW - KEPT))
    assert counted["reaches_back_to"] == clock.text(NOW - KEPT)
    of_young = replays.count(steps.conn, selected(young, since=asked), now=NOW, kept=KEPT)
    assert (of_young["events"], of_young["since"], of_young["reaches_back_to"]) == (2, clock.text(asked), None)
    steps.event(NOW - 20 * DAY)
    for webhook in (old, young):
        assert len(sent(steps, webhook, NOW - 20 * DAY)) == 1
    sweep = retention.Sweep(succeeded=5 * DAY, failed=DAY, now=NOW)
    with transaction(steps.conn):
        while sweep.step(steps.conn, 100):
            pass
    assert sweep.removed["deliveries"] == 2
    assert replays.count(steps.conn, selected(old), now=NOW, kept=KEPT)["reaches_back_to"] == clock.text(NOW - DAY)
    with pytest.raises(Refused, match="nothing to replay"):
        begin(steps, selected(old, since=asked))


def test_a_replay_that_takes_long_leaves_out_what_may_be_removed_meanwhile(steps: Steps) -> None:
    """A step reaches no further back than a count at that moment would."""
    webhook = steps.webhook(now=START - 50 * DAY)
    events(steps, 1, since=NOW - KEPT + HOUR)
    events(steps, 1, since=NOW - DAY)
    begin(steps, selected(webhook, since=NOW - 60 * DAY))
    assert advance(steps, NOW + 2 * HOUR) == []
    assert sent(steps, webhook, NOW + 2 * HOUR) == ["evt_2"]


def test_cancelled_deliveries_are_sent_again_only_when_that_is_asked_for(steps: Steps) -> None:
    """By one manual attempt, as any resend; those that were discarded are such too."""
    webhook = steps.webhook()
    steps.event(START)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
        webhooks.enable(steps.conn, webhook.id, discard_held=True, now=START)
    assert count(steps, selected(webhook)) == 0
    asked = selected(webhook, include_cancelled=True)
    assert count(steps, asked) == 1, "it counts as cancelled before a step has written that"
    with transaction(steps.conn):
        held.discard(steps.conn, 100)
    begin(steps, asked)
    advance(steps)
    claim = steps.attempt(webhook, NOW, Outcome.HTTP_ERROR, status_code=500)
    assert (claim.trigger, steps.only()["state"]) == (Trigger.MANUAL, "cancelled")
    assert len(advance(steps)) == 1
    begin(steps, asked)
    advance(steps)
    steps.attempt(webhook, NOW, Outcome.SUCCESS, status_code=200)
    assert (steps.only()["state"], count(steps, asked)) == ("succeeded", 0)


def test_cancelled_deliveries_of_an_ordered_webhook_are_not_replayed(steps: Steps) -> None:
    """As resends they would leave outside of the order."""
    asked = selected(steps.webhook(options={"ordered": True}), include_cancelled=True)
    with pytest.raises(Refused, match="outside of their order"):
        count(steps, asked)
    with pytest.raises(Refused, match="outside of their order"):
        begin(steps, asked)


def test_a_cancel_ends_what_waits_and_leaves_what_has_begun(steps: Steps) -> None:
    """What waited is cancelled, with that reason; what was not reached can be replayed again, what was cancelled if asked."""
    webhook = steps.webhook(now=NOW)
    events(steps, 3)
    replay = begin(steps, selected(webhook))
    advance(steps)
    (in_flight,) = claim_one(steps, webhook)
    with transaction(steps.conn):
        resends.cancel(steps.conn, replay, actor="somebody", now=NOW)
    assert steps.claim(webhook, NOW) == []
    assert deliveries.first_due(steps.conn, [webhook.id]) == {}
    steps.record(in_flight, Outcome.SUCCESS, NOW, status_code=200)
    advance(steps)
    assert progress(steps, replay) == ["cancelled", 3, 1, 0, 1]
    states = {row["event_id"]: row["state"] for row in search.newest(steps.conn)}
    assert states == {"evt_1": "succeeded", "evt_2": "cancelled", "evt_3": "cancelled"}
    (row, *_) = search.newest(steps.conn, Selection(state="cancelled"))
    assert log.delivery(steps.conn, row["delivery_id"])["cancelled_reason"] == "its replay was cancelled"
    assert count(steps, selected(webhook)) == 0
    assert count(steps, selected(webhook, include_cancelled=True)) == 2


def test_a_disabled_webhook_has_no_replay_and_holds_its_part_of_one(steps: Steps) -> None:
    """Enabled again it goes on; a deleted one ends it."""
    webhook = steps.webhook(now=NOW)
    events(steps, 300)
    begin(steps, selected(webhook))
    advance(steps)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, NOW)
    advance(steps)
    assert steps.claim(webhook, NOW) == []
    assert search.count(steps.conn, Selection(state="held"))[0] == resend_steps.WAITING
    with pytest.raises(Refused, match=f"Webhook {webhook.id} is disabled; enable it first"):
        count(steps, selected(webhook))
    with transaction(steps.conn):
        webhooks.enable(steps.conn, webhook.id, discard_held=False, now=NOW)
    assert len(steps.claim(webhook, NOW)) == 10
    advance(steps)
    assert search.count(steps.conn, Selection())[0] == 210
    with transaction(steps.conn):
        webhooks.delete(steps.conn, webhook.id, NOW)
    assert len(advance(steps)) == 1


def test_it_is_told_apart_and_written_down(steps: Steps) -> None:
    """In the list of resends by its kind, in the trail by its webhook, in the log by what it waits for."""
    webhook = steps.webhook(now=NOW)
    events(steps, 1)
    replay = begin(steps, selected(webhook, event="lead.*"))
    advance(steps)
    (row,) = resends.find(steps.conn, project_id="p")
    assert (row["id"], row["kind"], row["actor"]) == (replay, "replay", "somebody")
    assert row["filters"] == {"webhook_id": webhook.id, "since": clock.text(START - DAY), "event": "lead.*"}
    (outcome,) = log.event(steps.conn, "evt_1")["outcomes"]
    assert outcome["verdict"] == "It was not attempted yet. It is part of a replay, which gives way to what is due."
    with transaction(steps.conn):
        resends.cancel(steps.conn, replay, actor="another", now=NOW)
    noted = [
        (one["action"], one["actor"], one["detail"])
        for one in audit.entries(steps.conn, AuditSelection(webhook_id=webhook.id))
    ]
    assert noted[:2] == [("replay.cancelled", "another", replay), ("replay.started", "somebody", replay)]


def test_each_step_uses_the_template_of_its_moment(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that it makes is what is sent; large ones are made a few in a step, and none twice."""
    monkeypatch.setattr(later_deliveries, "MAX_BYTES", 30)
    webhook = steps.webhook(now=NOW, options={"template": '{"text": "first"}'})
    events(steps, 4)
    begin(steps, selected(webhook))
    advance(steps)
    with transaction(steps.conn):
        webhooks.update(steps.conn, webhook.id, options={"template": '{"text": "second"}'}, now=NOW)
    for _ in range(3):
        advance(steps)
    claims = steps.claim(webhook, NOW)
    assert [claim.event_id for claim in claims] == ["evt_1", "evt_2", "evt_3", "evt_4"]
    assert [claim.body for claim in claims] == [b'{"text": "first"}'] * 2 + [b'{"text": "second"}'] * 2


def test_each_step_uses_the_filter_of_its_moment_and_a_single_event_passes_it(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a wrong filter held back is sent by one that was mended, and its count is that of the filter."""
    wrong, right = ([{"field": "data.n", "op": op, "value": 2}] for op in (">", "<="))
    webhook = steps.webhook(options={"filter": wrong})
    for number in range(1, 7):
        steps.event(START, payload=json.dumps({"n": number}))
    assert len(sent(steps, webhook)) == 4
    assert count(steps, selected(webhook)) == 0
    with transaction(steps.conn):
        webhooks.update(steps.conn, webhook.id, options={"filter": right}, now=NOW)
    assert count(steps, selected(webhook)) == 2
    (first,) = steps.conn.execute("SELECT id FROM events ORDER BY seq LIMIT 1").fetchone()
    (event,) = log.event(steps.conn, first)["outcomes"]
    assert event["outcome"] == "filtered out"
    replay = begin(steps, selected(webhook))
    with transaction(steps.conn):
        webhooks.update(
            steps.conn, webhook.id, options={"filter": [{"field": "data.n", "op": "=", "value": 2}]}, now=NOW
        )
    assert len(all_sent(steps, webhook)) == 1
    assert progress(steps, replay) == ["finished", 2, 1, 0, 1]
    with transaction(steps.conn):
        later_deliveries.send_to(steps.conn, "p", first, webhook.id, NOW, actor="somebody")
    assert sent(steps, webhook) == [first]
    monkeypatch.setattr(replays, "READ", 1)
    late = steps.webhook(now=NOW, options={"filter": right})
    with pytest.raises(Refused, match="More than 1 events would have to be read"):
        count(steps, selected(late))


def test_an_event_that_a_template_cannot_be_made_of_has_failed(steps: Steps) -> None:
    """Without an attempt, as at a fan-out; the others are sent."""
    webhook = steps.webhook(now=NOW, options={"template": json.dumps({"text": "{{ data.text }}" * 20})})
    events(steps, 2)
    large = json.dumps({"data": {"text": "x" * 200_000}})
    steps.conn.execute("UPDATE events SET body = ? WHERE seq = 1", (large,))
    replay = begin(steps, selected(webhook))
    assert all_sent(steps, webhook) == ["evt_2"]
    states = {row["event_id"]: row["state"] for row in search.newest(steps.conn)}
    assert states == {"evt_1": "failed", "evt_2": "succeeded"}
    assert progress(steps, replay) == ["finished", 2, 2, 0, 1]


def test_more_than_people_wait_for_is_not_counted(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all projects, as all of them are looked at; within a shorter time it is."""
    monkeypatch.setattr(replays, "COUNTED", 10)
    webhook = steps.webhook(now=NOW)
    events(steps, 11, project="q")
    with pytest.raises(Refused, match="More than 10 events would have to be looked at; narrow it by time"):
        count(steps, selected(webhook))
    assert count(steps, selected(webhook, since=START + timedelta(seconds=5))) == 0


def test_one_event_is_sent_to_one_webhook_at_once(steps: Steps) -> None:
    """With its whole schedule, whatever the webhook subscribes to; a second time it is refused with the way to resend it."""
    webhook, off = steps.webhook(now=NOW, events=["sprint.*"]), steps.webhook(now=NOW)
    events(steps, 2)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, off.id, NOW)

    def send(event: str, webhook_id: str, project: str = "p") -> str:
        with transaction(steps.conn):
            return later_deliveries.send_to(steps.conn, project, event, webhook_id, NOW, actor="somebody")

    delivery = send("evt_1", webhook.id)
    (claim,) = steps.claim(webhook, NOW)
    assert (claim.event_id, claim.trigger, claim.number) == ("evt_1", Trigger.SCHEDULED, 1)
    steps.record(claim, Outcome.HTTP_ERROR, NOW, status_code=500)
    assert steps.only()["next_attempt_at"] == clock.text(NOW + timedelta(minutes=1))
    (entry, *_) = audit.entries(steps.conn, AuditSelection(action="event.sent_to"))
    assert (entry["delivery_id"], entry["detail"], entry["actor"]) == (delivery, "evt_1", "somebody")
    with pytest.raises(Refused, match=f"as {delivery}; resend that delivery"):
        send("evt_1", webhook.id)
    with pytest.raises(Refused, match="is disabled"):
        send("evt_2", off.id)
    with pytest.raises(NotFound, match="has no event evt_0"):
        send("evt_0", webhook.id)
    with pytest.raises(NotFound, match="has no webhook"):
        send("evt_2", webhook.id, "q")
    with transaction(steps.conn):
        webhooks.request_test(steps.conn, off.id, "lead.created", "{}", NOW)
    (test,) = (row["event_id"] for row in search.newest(steps.conn) if row["webhook_id"] == off.id)
    with pytest.raises(Refused, match="sample event of a test"):
        send(test, webhook.id)


@pytest.mark.parametrize(
    "stored", [{}, {"until": "2026-11-24T00:00:00.000Z", "event": "*", "include_cancelled": "true"}]
)
def test_a_selection_is_stored_as_it_was(stored: dict[str, str]) -> None:
    """A step of another process reads what was asked for."""
    whole = {"webhook_id": "wh_1", "since": "2026-11-23T00:00:00.000Z", **stored}
    assert ReplaySelection.load(json.loads(json.dumps(whole))).dump() == whole
