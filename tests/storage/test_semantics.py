"""The contract's delivery table (section 4), with the time passed in: no test here waits for a clock."""

from __future__ import annotations

from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Due, Full, NotFound, Outcome, Refused, Result, Trigger
from almirant_webhooks.storage.sql import claiming, deliveries, held, log, results, search, webhooks

from ..support.signed import headers_sent
from ..support.steps import SCHEDULE, START, Steps, transaction


def test_a_delivery_walks_through_five_attempts_then_fails_then_is_resent(steps: Steps) -> None:
    """Waits of 0 s, 1 min, 5 min, 30 min and 2 h stand in `next_attempt_at`, counted from the end of the attempt before."""
    webhook = steps.webhook()
    steps.event(START)
    waits = []
    end = START
    for _ in range(5):
        due = clock.parse(steps.only()["next_attempt_at"])
        waits.append(due - end)
        assert steps.claim(webhook, due - timedelta(milliseconds=1)) == []
        end = due + timedelta(seconds=3)
        (claim,) = steps.claim(webhook, due)
        steps.record(claim, Outcome.HTTP_ERROR, end, status_code=500)
    assert waits == [timedelta(minutes=wait) for wait in (0, 1, 5, 30, 120)]
    row = steps.only()
    assert (row["state"], row["next_attempt_at"], row["tries"], row["attempts"]) == ("failed", None, 5, 5)
    assert steps.claim(webhook, end + timedelta(days=9)) == []

    assert steps.resend(row["delivery_id"], end)
    claim = steps.attempt(webhook, end, Outcome.SUCCESS, status_code=204)
    assert (claim.trigger, claim.number) == (Trigger.MANUAL, 6)
    row = steps.only()
    assert (row["state"], row["status"], row["tries"], row["attempts"]) == ("succeeded", "204", 5, 6)


def test_every_attempt_sends_the_same_bytes_and_delivery_id(steps: Steps) -> None:
    """Timestamp, number and signature headers are the attempt's own."""
    webhook = steps.webhook()
    steps.event()
    first = steps.attempt(webhook, START, Outcome.TIMEOUT)
    second = steps.attempt(webhook, START + timedelta(minutes=1), Outcome.TIMEOUT)
    assert (first.body, first.delivery_id) == (second.body, second.delivery_id)
    headers = [dict(headers_sent(claim)) for claim in (first, second)]
    assert [one["X-Almirant-Attempt"] for one in headers] == ["1", "2"]
    assert int(headers[1]["X-Almirant-Timestamp"]) - int(headers[0]["X-Almirant-Timestamp"]) == 60
    assert headers[0]["X-Almirant-Signature"] == headers[1]["X-Almirant-Signature"]


@pytest.mark.parametrize(
    ("asked", "waited"), [(10.0, 60), (60.0, 60), (61.0, 61), (7200.0, 7200), (7201.0, 7200), (-5.0, 60), (1e300, 7200)]
)
def test_retry_after_can_delay_by_two_hours_at_most_and_never_hasten(steps: Steps, asked: float, waited: int) -> None:
    """The schedule's own wait is the least."""
    webhook = steps.webhook()
    steps.event()
    steps.attempt(webhook, START, Outcome.HTTP_ERROR, status_code=429, retry_after=asked)
    assert clock.parse(steps.only()["next_attempt_at"]) == START + timedelta(seconds=waited)


def test_the_first_two_interruptions_are_free_and_the_third_counts(steps: Steps) -> None:
    """They are retried at once; from the third on each is a failed attempt that waits its schedule."""
    webhook = steps.webhook()
    steps.event()
    for number in (1, 2):
        steps.attempt(webhook, START, Outcome.INTERRUPTED)
        row = steps.only()
        assert (row["tries"], row["attempts"], row["next_attempt_at"]) == (0, number, clock.text(START))
    steps.attempt(webhook, START, Outcome.INTERRUPTED)
    row = steps.only()
    assert (row["tries"], row["next_attempt_at"]) == (1, clock.text(START + timedelta(minutes=1)))


def test_a_crash_leaves_an_attempt_that_is_recorded_as_interrupted_once(steps: Steps) -> None:
    """A result that comes after that changes nothing."""
    webhook = steps.webhook()
    steps.event()
    (claim,) = steps.claim(webhook, START)
    with transaction(steps.conn):
        assert results.interrupt_open(steps.conn, SCHEDULE, START) == 1
        assert results.interrupt_open(steps.conn, SCHEDULE, START) == 0
    assert steps.record(claim, Outcome.SUCCESS, START, status_code=200) == 1
    row = steps.only()
    assert (row["state"], row["status"], row["attempts"]) == ("pending", "interrupted", 1)


def test_a_result_is_recorded_for_its_own_attempt_alone(steps: Steps) -> None:
    """One that comes late changes nothing of the attempt that is in flight by then; that one has its own end."""
    webhook = steps.webhook()
    steps.event()
    (first,) = steps.claim(webhook, START)
    with transaction(steps.conn):
        results.interrupt_open(steps.conn, SCHEDULE, START)
    (second,) = steps.claim(webhook, START)
    assert steps.record(first, Outcome.SUCCESS, START, status_code=200) == 1
    row = steps.only()
    assert (row["state"], row["attempts"]) == ("pending", 1)
    assert steps.claim(webhook, START) == [], "the second attempt is in flight"
    assert steps.record(second, Outcome.HTTP_ERROR, START, status_code=500) == 0
    attempts = log.delivery(steps.conn, second.delivery_id)["attempt_list"]
    assert [(row["number"], row["outcome"]) for row in attempts] == [(1, "interrupted"), (2, "http_error")]


def test_a_claim_takes_what_is_wanted_and_says_who_has_more(steps: Steps) -> None:
    """Of each webhook no more than asked for, in the order of the webhooks; nothing of others."""
    first, second, third = (steps.webhook(url=f"https://example.com/{number}") for number in range(3))
    for _ in range(3):
        steps.event()
    more: set[str] = set()
    with transaction(steps.conn):
        claims = claiming.claim(steps.conn, {second.id: 3, first.id: 2}, START, more)
    assert [claim.webhook_id for claim in claims] == [second.id] * 3 + [first.id] * 2
    assert more == {first.id}
    assert all(claim.started_at == START for claim in claims)
    assert len(steps.claim(third, START)) == 3


def test_a_disabled_webhook_holds_its_deliveries_and_changes_no_time(steps: Steps) -> None:
    """New and pending ones are held; enabling lets what is due go out."""
    webhook = steps.webhook()
    steps.event()
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
    steps.event()
    assert steps.claim(webhook, START + timedelta(days=1)) == []
    assert [(row["held"], row["state"], row["next_attempt_at"]) for row in search.newest(steps.conn)] == [
        (1, "pending", clock.text(START))
    ] * 2
    assert deliveries.first_due(steps.conn, [webhook.id]) == {}
    with transaction(steps.conn):
        assert held.count(steps.conn, webhook.id) == 2
        webhooks.enable(steps.conn, webhook.id, discard_held=False, now=START)
    assert len(steps.claim(webhook, START)) == 2


def test_enabling_can_discard_what_is_held(steps: Steps) -> None:
    """The discarded are cancelled, with the reason."""
    webhook = steps.webhook()
    steps.event()
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
        assert held.count(steps.conn, webhook.id) == 1
        webhooks.enable(steps.conn, webhook.id, discard_held=True, now=START)
    assert steps.only()["state"] == "cancelled"
    assert "discarded" in str(log.delivery(steps.conn, steps.only()["delivery_id"])["cancelled_reason"])
    assert steps.claim(webhook, START) == []


def test_all_that_is_held_is_discarded_in_steps_of_bounded_size(steps: Steps) -> None:
    """It counts as cancelled at once; what was in flight when the webhook was disabled is discarded with the rest."""
    webhook = steps.webhook()
    steps.event()
    assert len(steps.claim(webhook, START)) == 1
    for _ in range(5):
        steps.event()
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
        assert held.count(steps.conn, webhook.id) == 6
        webhooks.enable(steps.conn, webhook.id, discard_held=True, now=START)
    assert {row["state"] for row in search.newest(steps.conn)} == {"cancelled"}
    taken: list[int] = []
    while not taken or taken[-1]:
        with transaction(steps.conn):
            taken.append(held.discard(steps.conn, 2))
    assert taken == [2, 2, 1, 0]
    states = [row[0] for row in steps.conn.execute("SELECT state FROM deliveries")]
    assert states == ["cancelled"] * 6


def test_what_is_held_too_long_is_cancelled(steps: Steps) -> None:
    """Just under the limit it stays."""
    webhook = steps.webhook()
    steps.event()
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
    for held_since, cancelled in ((START - timedelta(milliseconds=1), 0), (START, 1)):
        with transaction(steps.conn):
            walk = held.TooLong(held_since)
            walk.step(steps.conn, 10)
            assert walk.removed.total() == cancelled


def test_a_deleted_webhook_is_gone_at_once_and_erased_in_steps(steps: Steps) -> None:
    """No view names it, late results are dropped, its secret is overwritten, its own row goes last."""
    webhook = steps.webhook()
    for _ in range(5):
        steps.event()
    claims = steps.claim(webhook, START)
    with transaction(steps.conn):
        webhooks.delete(steps.conn, webhook.id, START)
    for view in ("delivery_log", "attempt_log", "webhook_health"):
        assert steps.conn.execute(f"SELECT count(*) FROM {view}").fetchone()[0] == 0
    with pytest.raises(NotFound):
        webhooks.get(steps.conn, webhook.id)
    with pytest.raises(NotFound):
        steps.resend(claims[0].delivery_id, START)
    stored = steps.conn.execute("SELECT secret, url FROM webhooks").fetchone()
    assert tuple(stored) == ("", "")
    sizes = []
    while True:
        with transaction(steps.conn):
            sizes.append(deliveries.erase_deleted(steps.conn, 2))
        if not sizes[-1]:
            break
    assert sizes == [2, 2, 1, 1, 0]
    assert steps.record(claims[0], Outcome.SUCCESS, START) == 1
    for table in ("webhooks", "subscriptions", "deliveries", "attempts"):
        assert steps.conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0


def test_a_resend_that_fails_changes_neither_state_nor_schedule(steps: Steps) -> None:
    """Asked twice before it ran: once. A success clears the schedule."""
    webhook = steps.webhook()
    steps.event()
    claim = steps.attempt(webhook, START, Outcome.TIMEOUT)
    before = steps.only()
    assert steps.resend(claim.delivery_id, START) is True
    assert steps.resend(claim.delivery_id, START) is False
    assert deliveries.first_due(steps.conn, [webhook.id]) == {webhook.id: Due(deliveries.NOW, webhook.project_id)}
    assert steps.attempt(webhook, START, Outcome.TIMEOUT).trigger is Trigger.MANUAL
    after = steps.only()
    assert {name: after[name] for name in ("state", "tries", "next_attempt_at")} == {
        name: before[name] for name in ("state", "tries", "next_attempt_at")
    }
    steps.resend(claim.delivery_id, START)
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    assert (steps.only()["state"], steps.only()["next_attempt_at"]) == ("succeeded", None)
    assert steps.claim(webhook, START + timedelta(days=1)) == []


def test_a_resend_waits_until_nothing_is_in_flight(steps: Steps) -> None:
    """And it is refused for a disabled webhook, with the way out."""
    webhook = steps.webhook()
    steps.event()
    (claim,) = steps.claim(webhook, START)
    steps.resend(claim.delivery_id, START)
    assert steps.claim(webhook, START) == []
    steps.record(claim, Outcome.SUCCESS, START, status_code=200)
    (again,) = steps.claim(webhook, START)
    assert again.trigger is Trigger.MANUAL
    steps.record(again, Outcome.SUCCESS, START, status_code=200)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
    with pytest.raises(Refused, match="enable it first"):
        steps.resend(claim.delivery_id, START)


def test_a_test_is_one_manual_attempt_also_while_disabled(steps: Steps) -> None:
    """Event id `evt_test_…`, header `X-Almirant-Test: 1`, no retries."""
    webhook = steps.webhook()
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
        webhooks.request_test(steps.conn, webhook.id, "lead.created", "{}", START)
    claim = steps.attempt(webhook, START, Outcome.HTTP_ERROR, status_code=500)
    assert claim.trigger is Trigger.MANUAL
    assert claim.event_id.startswith("evt_test_")
    assert dict(headers_sent(claim))["X-Almirant-Test"] == "1"
    assert steps.only()["state"] == "failed"
    assert steps.claim(webhook, START + timedelta(days=1)) == []


def test_an_event_s_outcomes_say_why_nothing_arrived(steps: Steps) -> None:
    """Not subscribed, created later, held, or unmatched: a verdict for each webhook of the project."""
    asking = steps.webhook(events=["sprint.*"])
    steps.event()
    later = steps.webhook(now=START + timedelta(hours=1))
    (event,) = log.newest_events(steps.conn)
    assert event["unmatched"] is True
    outcomes = {row["webhook_id"]: row["outcome"] for row in log.event(steps.conn, event["event_id"])["outcomes"]}
    assert outcomes == {asking.id: "not subscribed to this type", later.id: "webhook created later"}


@pytest.mark.parametrize("event_type", ["lead.created", "sprint.closed"])
@pytest.mark.sqlite
@pytest.mark.long
def test_what_became_of_an_event_is_looked_up_once_for_each_webhook(steps: Steps, event_type: str) -> None:
    """With ten times as many webhooks in its project it costs ten times as much, and a page of it the same."""
    whole, pages = [], []
    for count in (60, 540):
        for _ in range(count):
            steps.webhook(events=["lead.*"], limit=1000)
        steps.event(START + timedelta(hours=1), event_type)
        newest = log.newest_events(steps.conn)[0]["event_id"]
        counted: list[int] = []
        steps.conn.set_progress_handler(lambda counted=counted: counted.append(1), 10)
        outcomes = log.event(steps.conn, newest)["outcomes"]
        whole.append(len(counted))
        page = log.event(steps.conn, newest, limit=20)
        pages.append(len(counted) - whole[-1])
        steps.conn.set_progress_handler(None, 0)
        assert page["outcomes"] == outcomes[:20]
    assert len(outcomes) == 600
    assert whole[1] < 11 * whole[0]
    assert pages[1] < 1.1 * pages[0] + count


def test_the_outcomes_of_an_event_come_in_pages(steps: Steps) -> None:
    """Each webhook once, deleted ones left out; the cursor of the last page is None."""
    there = sorted(steps.webhook().id for _ in range(5))
    steps.event()
    event = log.newest_events(steps.conn)[0]
    assert event["deliveries"] == 5
    with transaction(steps.conn):
        webhooks.delete(steps.conn, there[2], START)
    assert log.newest_events(steps.conn)[0]["deliveries"] == 4
    found, after = [], ""
    while True:
        page = log.event(steps.conn, event["event_id"], after=after, limit=2)
        found.append([one["webhook_id"] for one in page["outcomes"]])
        if page["next_cursor"] is None:
            break
        after = page["next_cursor"]
    assert found == [there[:2], there[3:]]
    assert [one["webhook_id"] for one in log.event(steps.conn, event["event_id"])["outcomes"]] == there[:2] + there[3:]


def test_a_project_has_at_most_its_limit_of_webhooks(steps: Steps) -> None:
    """The refusal says how many there may be."""
    steps.webhook(limit=1)
    with pytest.raises(Full, match="has 1 webhooks, and a project may have 1"):
        steps.webhook(limit=1)
    steps.webhook(limit=1, project_id="other")


@pytest.mark.sqlite
def test_the_outbox_refuses_broken_rows_in_words(steps: Steps) -> None:
    """Each refusal of the INSERT names its rule; the largest possible id is refused, so that later inserts work."""
    broken: dict[str, dict[str, object]] = {
        "event_id must be": {"event_id": "a b"},
        "project_id must be": {"project_id": "a\nb"},
        "project_id must be 1 to 128 printable": {"project_id": "a\0b"},
        "event_type must be": {"event_type": "Created"},
        "payload must be a JSON object": {"payload": "[1]"},
        "payload must be at most 256 KiB": {"payload": '{"a":"' + "x" * (262144 - 7) + '"}'},
        "occurred_at must be": {"occurred_at": "2026-02-30T00:00:00.000Z"},
        "id must be below": {"id": 2**63 - 1},
    }
    for words, change in broken.items():
        row: dict[str, object] = {"project_id": "p", "event_type": "a.b", "payload": "{}", **change}
        with pytest.raises(steps.refusal, match=words):
            steps.outbox.execute(
                f"INSERT INTO outbox ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
            )
    largest = '{"a":"' + "x" * (262144 - 8) + '"}'
    assert len(largest) == 262144
    insert = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'a.b', ?)"
    steps.outbox.execute(insert, (largest,))
    steps.outbox.execute(insert, ('{"a": "\U0010ffff\U0001f600é漢"}',))
    idempotent = "INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES ('p', 'a.b', '{}', 'e') ON CONFLICT (project_id, event_id) DO NOTHING"
    assert [steps.outbox.execute(idempotent).rowcount for _ in range(2)] == [1, 0]


def test_each_result_is_counted_in_its_webhooks_time_and_run_of_failures(steps: Steps) -> None:
    """An interrupted attempt counts as neither; a success ends the run of failures."""

    def activity() -> tuple[object, ...]:
        return tuple(
            steps.conn.execute(
                "SELECT last_success_at, last_failure_at, failing_since, failures_in_a_row FROM webhooks"
            ).fetchone()
        )

    webhook = steps.webhook()
    steps.event()
    for minutes, outcome in ((0, Outcome.INTERRUPTED), (0, Outcome.TIMEOUT), (1, Outcome.HTTP_ERROR)):
        steps.attempt(webhook, START + timedelta(minutes=minutes), outcome)
    first, second, third = (clock.text(START + timedelta(minutes=minutes)) for minutes in (0, 1, 61))
    assert activity() == (None, second, first, 2)
    steps.attempt(webhook, START + timedelta(minutes=61), Outcome.SUCCESS)
    assert activity() == (third, second, None, 0)
    hours = [tuple(row)[1:] for row in steps.conn.execute("SELECT * FROM webhook_hours ORDER BY hour")]
    assert hours == [("2026-11-23T09:00", 0, 2, 10, 5), ("2026-11-23T10:00", 1, 0, 5, 5)]


def test_a_batch_of_results_counts_them_in_their_order(steps: Steps) -> None:
    """Failures before a success in the same group do not count as a run."""
    webhook = steps.webhook()
    for _ in range(4):
        steps.event()
    outcomes = (Outcome.TIMEOUT, Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.BLOCKED)
    group = [
        Result(claim, outcome, START, 5) for claim, outcome in zip(steps.claim(webhook, START), outcomes, strict=True)
    ]
    with transaction(steps.conn):
        assert results.record(steps.conn, group, SCHEDULE) == 0
        assert results.record(steps.conn, group, SCHEDULE) == 4
    row = steps.conn.execute("SELECT last_success_at, failing_since, failures_in_a_row FROM webhooks").fetchone()
    assert tuple(row) == (clock.text(START), clock.text(START), 2)
