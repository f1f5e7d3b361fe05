"""Webhooks that fail everything are noticed, once, and so is their recovery; nothing is switched off by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.model import RESERVED_PROJECT, Outcome, Refused, Webhook
from almirant_webhooks.rules import validation
from almirant_webhooks.rules.retry import FREE_INTERRUPTIONS
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.settings.schema import Settings
from almirant_webhooks.storage.sql import claiming, health, results, search, webhooks
from almirant_webhooks.upkeep.observer import Waiting

from ..conftest import Receiver
from ..support import needs
from ..support.service import Service
from ..support.shell import Shell
from ..support.steps import SCHEDULE, START, Steps, transaction

HOUR = timedelta(hours=1)


def notice(there: Steps, now: datetime) -> tuple[list[str], list[str]]:
    with transaction(there.conn):
        begun, over, _ = health.note_health_changes(there.conn, now)
    return [one.webhook_id for one in begun], [one.webhook_id for one in over]


def told(there: Steps) -> list[dict[str, Any]]:
    """Return the events of the reserved project."""
    rows = there.conn.execute("SELECT body FROM events WHERE project_id = ? ORDER BY seq", (RESERVED_PROJECT,))
    return [json.loads(row[0]) for row in rows]


def attempt(there: Steps, webhook: Webhook, at: datetime, outcome: Outcome) -> None:
    """Make one attempt, of a new event."""
    there.event(at)
    for claim in there.claim(webhook, at):
        there.record(claim, outcome, at, status_code=None if outcome is Outcome.TIMEOUT else 200)


def test_failing_and_recovery_are_transitions_that_happen_once(steps: Steps) -> None:
    """An hour of failures alone makes a webhook failing; a success ends it."""
    operators = steps.webhook(project_id=RESERVED_PROJECT, events=["webhook.*"])
    webhook = steps.webhook()
    attempt(steps, webhook, START, Outcome.SUCCESS)
    attempt(steps, webhook, START + HOUR, Outcome.TIMEOUT)
    attempt(steps, webhook, START + HOUR * 1.5, Outcome.TIMEOUT)
    assert notice(steps, START + 2 * HOUR - timedelta(milliseconds=1)) == ([], [])
    assert notice(steps, START + 2 * HOUR) == ([webhook.id], [])
    assert notice(steps, START + 3 * HOUR) == ([], [])
    assert health.failing(steps.conn) == {webhook.id: clock.text(START + HOUR)}
    assert webhooks.health(steps.conn, webhook.id)[0]["failing_since"] == clock.text(START + HOUR)
    attempt(steps, webhook, START + 4 * HOUR, Outcome.SUCCESS)
    assert health.failing(steps.conn) == {}
    assert notice(steps, START + 4 * HOUR) == ([], [webhook.id])
    assert notice(steps, START + 5 * HOUR) == ([], [])
    assert webhooks.get(steps.conn, webhook.id).enabled
    first, second = told(steps)
    assert (first["type"], second["type"]) == ("webhook.failing", "webhook.recovered")
    assert first["projectId"] == RESERVED_PROJECT
    named = {"id": webhook.id, "projectId": "p", "host": "example.com"}
    assert first["data"]["webhook"] == second["data"]["webhook"] == named
    assert first["data"]["failingSince"] == clock.text(START + HOUR)
    assert len(search.newest(steps.conn, Selection(webhook_id=operators.id))) == 2


def test_a_lone_failure_an_interruption_and_a_disabled_webhook_are_no_news(steps: Steps) -> None:
    """Nor is anything that nobody subscribes to written down as an event."""
    lone, off = steps.webhook(events=["lead.created"]), steps.webhook(events=["lead.updated"])
    steps.event(START, "lead.created")
    steps.attempt(lone, START, Outcome.TIMEOUT)
    steps.event(START, "lead.updated")
    steps.attempt(off, START, Outcome.TIMEOUT)
    steps.attempt(off, START + timedelta(minutes=1), Outcome.TIMEOUT)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, off.id, START)
    assert notice(steps, START + 9 * HOUR) == ([], [])
    assert told(steps) == []


def test_a_delivery_that_fails_for_good_makes_an_event_in_the_same_transaction(steps: Steps) -> None:
    """Of its last attempt alone; tests make none."""
    operators = steps.webhook(project_id=RESERVED_PROJECT, events=["delivery.failed"])
    webhook = steps.webhook()
    with transaction(steps.conn):
        webhooks.request_test(steps.conn, webhook.id, "lead.created", "{}", START)
    (test,) = steps.claim(webhook, START)
    steps.record(test, Outcome.HTTP_ERROR, START, status_code=500)
    steps.event()
    at = START
    for wait in SCHEDULE.waits:
        at += wait
        assert told(steps) == []
        claim = steps.attempt(webhook, at, Outcome.HTTP_ERROR, status_code=503, cause="the receiver answered 503")
    (event,) = told(steps)
    assert event["data"]["delivery"] == {
        "id": claim.delivery_id,
        "eventId": claim.event_id,
        "eventType": "lead.created",
        "attempts": 5,
        "lastAttempt": {"outcome": "http_error", "statusCode": 503, "cause": "the receiver answered 503"},
    }
    with transaction(steps.conn):
        (own,) = claiming.claim(steps.conn, {operators.id: 5}, at)
    assert json.loads(own.body)["type"] == "delivery.failed"


def test_a_webhook_that_was_deleted_meanwhile_makes_no_event(steps: Steps) -> None:
    """Its last attempt ends after its deletion, or a crash ends it: there is nobody left to tell operators of."""
    steps.webhook(project_id=RESERVED_PROJECT, events=["delivery.failed"])
    for is_crash in (False, True):
        webhook = steps.webhook()
        steps.event()
        at = START
        for wait in SCHEDULE.waits[:-1]:
            at += wait
            steps.attempt(webhook, at, Outcome.HTTP_ERROR, status_code=503)
        at += SCHEDULE.waits[-1]
        (last,) = steps.claim(webhook, at)
        steps.conn.execute("UPDATE deliveries SET interruptions = ? WHERE in_flight = 1", (FREE_INTERRUPTIONS,))
        with transaction(steps.conn):
            webhooks.delete(steps.conn, webhook.id, at)
        if is_crash:
            with transaction(steps.conn):
                assert results.interrupt_open(steps.conn, SCHEDULE, at) == 1
        else:
            steps.record(last, Outcome.HTTP_ERROR, at, status_code=503)
        assert told(steps) == []


def test_a_crash_that_uses_up_the_last_attempt_makes_an_event_too(steps: Steps) -> None:
    """The delivery has failed at the start after it, with nobody else to tell."""
    steps.webhook(project_id=RESERVED_PROJECT, events=["delivery.failed"])
    webhook = steps.webhook()
    steps.event()
    crashes = FREE_INTERRUPTIONS + len(SCHEDULE.waits)
    at = START
    for _ in range(crashes):
        assert told(steps) == []
        at += timedelta(hours=3)
        steps.claim(webhook, at)
        with transaction(steps.conn):
            results.interrupt_open(steps.conn, SCHEDULE, at)
    (event,) = told(steps)
    assert event["data"]["delivery"]["attempts"] == crashes
    assert event["data"]["delivery"]["lastAttempt"]["outcome"] == "interrupted"


def test_the_hour_of_failures_begins_anew_when_a_webhook_is_enabled(steps: Steps) -> None:
    """The days that it was switched off are none in which it failed; one that operators were told of goes on."""
    webhook = steps.webhook()
    for minutes in (0, 1):
        attempt(steps, webhook, START + timedelta(minutes=minutes), Outcome.TIMEOUT)
    switch_off_and_on(steps, webhook, START + 24 * HOUR)
    attempt(steps, webhook, START + 24 * HOUR, Outcome.TIMEOUT)
    assert notice(steps, START + 24.5 * HOUR) == ([], [])
    attempt(steps, webhook, START + 24.5 * HOUR, Outcome.TIMEOUT)
    assert notice(steps, START + 25 * HOUR) == ([webhook.id], [])
    switch_off_and_on(steps, webhook, START + 48 * HOUR)
    assert notice(steps, START + 48 * HOUR) == ([], [])
    assert list(health.failing(steps.conn)) == [webhook.id]
    attempt(steps, webhook, START + 49 * HOUR, Outcome.SUCCESS)
    assert notice(steps, START + 49 * HOUR) == ([], [webhook.id])


def switch_off_and_on(there: Steps, webhook: Webhook, until: datetime) -> None:
    with transaction(there.conn):
        webhooks.disable(there.conn, webhook.id, until - HOUR)
        webhooks.enable(there.conn, webhook.id, discard_held=True, now=until)


def test_the_age_of_what_waits_in_the_outbox_is_by_our_own_clock() -> None:
    """From the first look at which a row was there, whatever its producer's clock says and however the first one changes."""
    waiting = Waiting()
    assert waiting.age(None, 0, 0.0) == 0.0
    assert waiting.age(5, 9, 10.0) == 0.0
    assert waiting.age(5, 20, 20.0) == 10.0
    assert waiting.age(9, 30, 30.0) == 20.0
    assert waiting.age(10, 40, 40.0) == 20.0
    assert waiting.age(None, 40, 50.0) == 0.0
    assert waiting.age(41, 41, 60.0) == 0.0


def test_operators_own_webhooks_make_no_news_about_themselves(steps: Steps) -> None:
    """Or each failure would make the next one; they are shown as failing like any other."""
    operators = steps.webhook(project_id=RESERVED_PROJECT)
    webhook = steps.webhook()
    for at in (START, START + HOUR):
        attempt(steps, webhook, at, Outcome.TIMEOUT)
    notice(steps, START + HOUR)
    assert len(told(steps)) == 1
    at = START + HOUR
    for wait in SCHEDULE.waits:
        at += wait
        steps.attempt(operators, at, Outcome.TIMEOUT)
    begun, _ = notice(steps, at + HOUR)
    assert begun == [operators.id]
    assert len(told(steps)) == 1
    assert set(health.failing(steps.conn)) == {operators.id, webhook.id}


def test_producers_cannot_insert_into_the_reserved_project(steps: Steps, shell: Shell) -> None:
    """The row is rejected with its reason, `event send` refuses, and only the own types can be subscribed to there."""
    steps.outbox_part.insert(
        steps.outbox, project_id=RESERVED_PROJECT, event_type="webhook.failing", payload="{}", event_id="e"
    )
    steps.event()
    (row,), _ = steps.rejected_part.newest(steps.outbox, 10)
    assert "is reserved" in str(row["rejected_reason"])
    send = ("event", "send", "--project", RESERVED_PROJECT, "--type", "webhook.failing", "--data", "{}")
    assert "reserved" in shell.ours(*send, code=1)
    settings = Settings()
    assert validation.events(["webhook.*", "*"], settings.events.extra_types, RESERVED_PROJECT) == ("webhook.*", "*")
    for pattern, project in (("webhook.failing", "p"), ("work_item.*", RESERVED_PROJECT)):
        with pytest.raises(Refused, match="fits no event type"):
            validation.events([pattern], settings.events.extra_types, project)


async def test_operators_hear_of_failures_and_the_lists_show_them(
    service: Service, receiver: Receiver, tmp_path: Path
) -> None:
    """From a running daemon: notice, log, metric, list, show."""
    service.options["delivery"] = {"retry_schedule": ["0s"]}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=500 if request.path == "/project" else 200)

    receiver.answer = answer
    daemon = await service.start()
    webhook = service.webhook(receiver.url.replace("/in", "/project"))
    operators = service.webhook(receiver.url.replace("/in", "/operators"), "*", project=RESERVED_PROJECT)
    service.insert({}, {})
    await service.until(lambda: len(service.log(state="failed", webhook_id=webhook.id)) == 2)
    await service.stop()
    hours_ago = clock.text(clock.now() - 2 * HOUR)
    service.write(lambda conn: conn.execute("UPDATE webhooks SET failing_since = ?", (hours_ago,)))
    daemon = await service.start()
    await service.until(lambda: len(service.log(state="succeeded", webhook_id=operators.id)) == 3)
    told_of = {json.loads(request.body)["type"] for request in receiver.requests if request.path == "/operators"}
    assert told_of == {"delivery.failed", "webhook.failing"}
    await service.until(lambda: "almirant_webhooks_webhooks_failing 1.0" in daemon.metrics.page().decode())
    there = service.shell(tmp_path)
    shown = json.loads(there.ours("webhook", "show", webhook.id, "--json"))
    assert shown["failing_since"] == hours_ago
    listed = {one["id"]: one["failing_since"] for one in json.loads(there.ours("webhook", "list", "--json"))}
    assert listed == {webhook.id: hours_ago, operators.id: None}
    assert "failing" in there.ours("webhook", "list", "--project", "proj_1")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    with needs.small_disk(tmp_path / "disk", 64) as place:
        yield place


@pytest.mark.long
async def test_low_on_disk_answers_bodies_are_not_stored_and_delivering_goes_on(
    small_disk: Path, receiver: Receiver
) -> None:
    """The metric says so, and the attempt is marked as cut."""
    service = Service(small_disk / "webhooks.db")
    daemon = await service.start()
    await service.until(lambda: "almirant_webhooks_answer_bodies_stored 0.0" in daemon.metrics.page().decode())
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    (one,) = service.detail(service.log()[0]["delivery_id"])["attempt_list"]
    await service.stop()
    assert (one["status"], one["response_body"], one["body_cut"]) == ("200", "", True)
