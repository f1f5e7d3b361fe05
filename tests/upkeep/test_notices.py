"""Notices: a project's webhook is told what operators are told, of its own project alone, and no notice makes another."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.cli.doctor import _work
from almirant_webhooks.model import RESERVED_PROJECT, Outcome, Webhook
from almirant_webhooks.rules.event_types import NOTICES
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.settings.schema import Settings
from almirant_webhooks.storage.sql import health, reserved_types, search, webhooks
from almirant_webhooks.storage.sqlite.migrate import migrate

from ..conftest import Receiver
from ..storage.test_upgrade import restore
from ..support.service import Service
from ..support.steps import SCHEDULE, START, Steps, transaction

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def look(there: Steps, now: datetime) -> set[str]:
    """Look at health as the observer does; return the webhooks that have something due by it."""
    touched: set[str] = set()
    with transaction(there.conn):
        touched |= health.note_health_changes(there.conn, now).touched
    while health.has_failed_to_tell(there.conn, now):
        with transaction(there.conn):
            touched |= health.tell_failed(there.conn, now)
    return touched


def sent_to(there: Steps, webhook: Webhook) -> list[str]:
    """Return the types of a webhook's deliveries, oldest first."""
    query = "SELECT e.event_type FROM deliveries d JOIN events e ON e.seq = d.event_seq WHERE d.webhook_id = ? ORDER BY e.seq"
    return [str(row[0]) for row in there.conn.execute(query, (webhook.id,))]


def told(there: Steps, project: str = "p") -> list[dict[str, Any]]:
    """Return the events about webhooks in a project, oldest first."""
    rows = there.conn.execute(
        "SELECT body FROM events WHERE project_id = ? AND (event_type GLOB 'almirant.*' OR project_id = ?) ORDER BY seq",
        (project, RESERVED_PROJECT),
    )
    return [json.loads(row[0]) for row in rows]


def fail(there: Steps, webhook: Webhook, at: datetime, outcome: Outcome = Outcome.TIMEOUT) -> None:
    """End one attempt of whatever is due at a webhook."""
    for claim in there.claim(webhook, at):
        there.record(claim, outcome, at)


def give_up(there: Steps, webhook: Webhook, begin: datetime) -> datetime:
    """Let every attempt of what is due at a webhook fail, until it is given up; return when."""
    at = begin
    for wait in SCHEDULE.waits:
        at += wait
        fail(there, webhook, at)
    return at


def test_a_project_is_told_what_operators_are_told(steps: Steps) -> None:
    """Of a webhook that fails everything and of its recovery, with the same content; another project is not."""
    operators = steps.webhook(project_id=RESERVED_PROJECT, events=["*"])
    channel = steps.webhook(events=["almirant.*"])
    foreign = steps.webhook(project_id="other", events=["almirant.*"])
    webhook = steps.webhook(events=["lead.*"])
    for at in (START, START + HOUR):
        steps.event(at)
        fail(steps, webhook, at)
    assert look(steps, START + HOUR) == {channel.id, operators.id}
    steps.event(START + 2 * HOUR)
    fail(steps, webhook, START + 2 * HOUR, Outcome.SUCCESS)
    assert look(steps, START + 2 * HOUR) == {channel.id, operators.id}
    assert sent_to(steps, channel) == ["almirant.webhook.failing", "almirant.webhook.recovered"]
    assert sent_to(steps, operators) == ["webhook.failing", "webhook.recovered"]
    assert sent_to(steps, foreign) == []
    ours, theirs = told(steps, "p"), told(steps, RESERVED_PROJECT)
    assert [event["data"] for event in ours] == [event["data"] for event in theirs]
    assert {event["projectId"] for event in ours} == {"p"}
    assert ours[0]["data"]["webhook"] == {"id": webhook.id, "projectId": "p", "host": "example.com"}


@pytest.mark.parametrize(
    ("pattern", "gets_it"),
    [
        ("*", False),
        ("almirant.*", True),
        ("almirant.webhook.*", True),
        ("almirant.webhook.failing", True),
        ("almirant.webhook.recovered", False),
        ("lead.*", False),
    ],
)
def test_a_notice_goes_to_whoever_names_it_and_never_to_everything(steps: Steps, pattern: str, gets_it: bool) -> None:
    """`*` is what producers send."""
    other = steps.webhook(events=[pattern])
    webhook = steps.webhook(events=["lead.*"])
    for at in (START, START + HOUR):
        steps.event(at)
        fail(steps, webhook, at)
        fail(steps, other, at, Outcome.SUCCESS)
    look(steps, START + HOUR)
    assert sent_to(steps, other).count("almirant.webhook.failing") == gets_it
    assert len(told(steps)) == gets_it


def test_failed_deliveries_are_told_once_a_minute_for_each_webhook_with_their_count(steps: Steps) -> None:
    """The first at once; what fails within a minute of a notice comes in the next one. A restart forgets none."""
    steps.webhook(events=["almirant.delivery.failed"])
    webhook, other = steps.webhook(events=["lead.created"]), steps.webhook(events=["lead.updated"])
    steps.event()
    at = give_up(steps, webhook, START)
    look(steps, at)
    steps.conn.execute("UPDATE deliveries SET state = 'failed', next_attempt_at = NULL")
    for _ in range(3):
        steps.event(at)
    last = give_up(steps, webhook, at)
    steps.conn.execute("UPDATE webhooks SET told_at = ? WHERE id = ?", (clock.text(last - MINUTE / 2), webhook.id))
    look(steps, last)
    assert len(told(steps)) == 1
    assert not health.has_failed_to_tell(steps.conn, last + MINUTE / 2 - timedelta(milliseconds=1))
    look(steps, last + MINUTE / 2)
    first, second = told(steps)
    assert (first["data"]["count"], second["data"]["count"]) == (1, 3)
    assert first["data"]["delivery"]["attempts"] == 5
    assert first["data"]["delivery"]["lastAttempt"] == {"outcome": "timeout", "statusCode": None, "cause": None}
    rows = steps.conn.execute("SELECT id FROM deliveries WHERE webhook_id = ?", (webhook.id,)).fetchall()
    assert second["data"]["delivery"]["id"] in {row[0] for row in rows[1:]}
    steps.event(last, "lead.updated")
    look(steps, give_up(steps, other, last))
    assert told(steps)[-1]["data"]["webhook"]["id"] == other.id


def test_a_notice_of_failed_deliveries_waits_for_no_clock(steps: Steps) -> None:
    """One that was set back by an hour does not keep a project waiting for that hour."""
    steps.webhook(events=["almirant.delivery.failed"])
    webhook = steps.webhook(events=["lead.created"])
    steps.event()
    at = give_up(steps, webhook, START)
    look(steps, at)
    steps.event(at)
    back = give_up(steps, webhook, at)
    steps.conn.execute("UPDATE webhooks SET told_at = ?", (clock.text(back + HOUR),))
    look(steps, back)
    assert [event["data"]["count"] for event in told(steps)] == [1, 1]


def test_a_failed_delivery_that_is_gone_is_counted_all_the_same(steps: Steps) -> None:
    """An operator may delete its row within the minute."""
    steps.webhook(events=["almirant.*"])
    webhook = steps.webhook(events=["lead.created"])
    steps.event()
    at = give_up(steps, webhook, START)
    steps.conn.execute("DELETE FROM deliveries")
    look(steps, at)
    (event,) = [event for event in told(steps) if event["type"] == "almirant.delivery.failed"]
    named = {"id": webhook.id, "projectId": "p", "host": "example.com"}
    assert event["data"] == {"delivery": None, "webhook": named, "count": 1}


def test_what_nobody_subscribes_to_is_not_counted(steps: Steps) -> None:
    """Nor is there a look for it."""
    webhook = steps.webhook(events=["*"])
    steps.event()
    at = give_up(steps, webhook, START)
    assert not health.has_failed_to_tell(steps.conn, at)
    assert told(steps) == []


def test_a_delivery_of_a_notice_makes_no_notice_whoever_subscribes_to_whom(steps: Steps) -> None:
    """Two webhooks of a project that subscribe to each other's notices, and to their own, and operators who get everything."""
    both = [steps.webhook(events=["almirant.*"]), steps.webhook(events=["lead.*", "almirant.*"])]
    operators = steps.webhook(project_id=RESERVED_PROJECT, events=["*"])
    steps.event()
    at = give_up(steps, both[1], START)
    look(steps, at)
    began = [sent_to(steps, webhook) for webhook in both]
    notices = {"almirant.webhook.failing", "almirant.delivery.failed"}
    assert [set(kinds) for kinds in began] == [notices, {"lead.created", *notices}]
    assert [len(kinds) for kinds in began] == [2, 3]
    to_operators = sent_to(steps, operators)
    for _ in range(3):
        for webhook in (*both, operators):
            at = give_up(steps, webhook, at)
        look(steps, at + HOUR)
    assert [sent_to(steps, webhook) for webhook in both] == began
    assert sent_to(steps, operators) == to_operators == ["delivery.failed", "webhook.failing"]
    assert not health.has_failed_to_tell(steps.conn, at + 2 * HOUR)


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.TIMEOUT])
def test_what_becomes_of_a_notice_makes_its_webhook_neither_well_nor_failing(steps: Steps, outcome: Outcome) -> None:
    """A success would make a notice of a recovery; the page shows when the last attempt was."""
    webhook = steps.webhook(events=["lead.*", "almirant.*"])
    for at in (START, START + HOUR):
        steps.event(at)
        fail(steps, webhook, at)
    look(steps, START + HOUR)
    before = webhooks.health(steps.conn, webhook.id)[0]
    with transaction(steps.conn):
        steps.conn.execute("UPDATE deliveries SET next_attempt_at = NULL, state = 'failed' WHERE attempts > 0")
    fail(steps, webhook, START + 2 * HOUR, outcome)
    assert look(steps, START + 2 * HOUR) == set()
    after = webhooks.health(steps.conn, webhook.id)[0]
    kept = ("failing_since", "failures_in_a_row")
    assert [before[name] for name in kept] == [after[name] for name in kept]  # type: ignore[literal-required]
    tried_at = clock.text(START + 2 * HOUR)
    assert (after["last_success"] == tried_at, after["last_failure"] == tried_at) == (
        outcome is Outcome.SUCCESS,
        outcome is Outcome.TIMEOUT,
    )


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.HTTP_ERROR])
def test_a_test_counts_for_nothing(steps: Steps, outcome: Outcome) -> None:
    """Neither for failing nor for a recovery, and it is no last success."""
    webhook = steps.webhook(events=["lead.*"])
    steps.event()
    fail(steps, webhook, START)
    before = webhooks.health(steps.conn, webhook.id)[0]
    with transaction(steps.conn):
        webhooks.request_test(steps.conn, webhook.id, "lead.created", "{}", START)
    (claim,) = steps.claim(webhook, START)
    steps.record(claim, outcome, START + HOUR, status_code=200)
    after = webhooks.health(steps.conn, webhook.id)[0]
    kept = ("last_success", "last_failure", "failing_since", "failures_in_a_row")
    assert [before[name] for name in kept] == [after[name] for name in kept]  # type: ignore[literal-required]
    assert look(steps, START + 2 * HOUR) == set()


def test_a_webhook_that_fails_gets_the_notice_about_itself_like_any_other(steps: Steps) -> None:
    """It is tried as its schedule says and then given up, with no further notice."""
    webhook = steps.webhook(events=["lead.*", "almirant.webhook.failing", "almirant.webhook.recovered"])
    for at in (START, START + HOUR):
        steps.event(at)
        fail(steps, webhook, at)
    assert look(steps, START + HOUR) == {webhook.id}
    at = give_up(steps, webhook, START + HOUR)
    assert look(steps, at) == set()
    assert sent_to(steps, webhook).count("almirant.webhook.failing") == 1


def test_a_notice_to_a_disabled_webhook_is_held(steps: Steps) -> None:
    """As everything for it is."""
    channel, webhook = steps.webhook(events=["almirant.*"]), steps.webhook(events=["lead.*"])
    with transaction(steps.conn):
        webhooks.disable(steps.conn, channel.id, START)
    for at in (START, START + HOUR):
        steps.event(at)
        fail(steps, webhook, at)
    look(steps, START + HOUR)
    (row,) = search.newest(steps.conn, Selection(webhook_id=channel.id))
    assert row["held"] == 1


# Producers


@pytest.mark.parametrize("event_type", [*NOTICES, "almirant.anything", "almirant.a.b"])
def test_a_producer_s_row_of_such_a_type_is_rejected(steps: Steps, event_type: str) -> None:
    """With the reason in the row, and those behind it go on."""
    webhook = steps.webhook(events=["*", "almirant.*"])
    steps.outbox_part.insert(steps.outbox, project_id="p", event_type=event_type, payload="{}", event_id="e")
    steps.event()
    (row,), _ = steps.rejected_part.newest(steps.outbox, 10)
    assert (row["event_id"], row["rejected_reason"]) == (
        "e",
        "event_type begins with almirant., which is reserved for events about webhooks themselves",
    )
    assert sent_to(steps, webhook) == ["lead.created"]


@pytest.mark.parametrize("event_type", ["almirants.webhook", "almirant_.failing", "x.almirant.failing"])
def test_a_type_that_only_resembles_one_is_taken(steps: Steps, event_type: str) -> None:
    """`almirant` with a dot behind it, at the begin, is what is reserved."""
    webhook = steps.webhook(events=["*"])
    steps.event(START, event_type)
    assert sent_to(steps, webhook) == [event_type]


@pytest.mark.sqlite
def test_doctor_tells_of_types_in_use_that_begin_so(steps: Steps) -> None:
    """Those of producers and of webhooks; the service's own are none."""
    steps.webhook(events=["almirant.mine.*", "almirant.*", "almirant.webhook.failing"])
    with transaction(steps.conn):
        steps.conn.execute(
            "INSERT INTO events (id, project_id, event_type, occurred_at, created_at, body) VALUES "
            "('e1', 'p', 'almirant.sold', '', '', '{}'), ('e2', 'p', 'almirant.webhook.failing', '', '', '{}')"
        )
    assert reserved_types.in_use(steps.conn, ("almirant.mine.*",)) == [
        "almirant.*",
        "almirant.sold",
        "almirant.webhook.failing",
    ]
    settings = Settings.model_validate({"database": {"path": str(steps.path)}})
    (words,) = [finding.words for finding in _work(settings) if finding.check == "event types"]
    assert "here have almirant.mine.*, almirant.sold: give them another name" in words


def test_an_upgrade_tells_of_types_that_it_takes_away(tmp_path: Path) -> None:
    """From a schema that did not reserve them; one that did says nothing."""
    path = tmp_path / "log.db"
    restore(6, path)
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("UPDATE events SET event_type = 'almirant.sold' WHERE seq = (SELECT max(seq) FROM events)")
    lines = migrate(path, None)
    assert [line for line in lines if "In use here are almirant.sold: give them another name" in line]
    assert migrate(path, None) == []


@pytest.mark.long
async def test_a_project_hears_of_its_failures_from_a_running_daemon(service: Service, receiver: Receiver) -> None:
    """Of a failed delivery within a second or two."""
    service.options["delivery"] = {"retry_schedule": ["0s"]}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=500 if request.path == "/in" else 200)

    receiver.answer = answer
    await service.start()
    webhook = service.webhook(receiver.url)
    channel = service.webhook(receiver.url.replace("/in", "/channel"), "almirant.*")
    service.insert({})
    await service.until(lambda: service.log(state="succeeded", webhook_id=channel.id))
    (body,) = [json.loads(request.body) for request in receiver.requests if request.path == "/channel"]
    assert (body["type"], body["projectId"], body["data"]["count"]) == ("almirant.delivery.failed", "proj_1", 1)
    assert body["data"]["webhook"]["id"] == webhook.id
    assert body["data"]["delivery"]["lastAttempt"]["statusCode"] == 500
