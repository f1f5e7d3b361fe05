"""`delivery.disable_after`: a webhook that has failed everything for so long is disabled by the service, and says why."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.model import RESERVED_PROJECT, SERVICE, Outcome, Result, Webhook
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.rules.selection import AuditSelection, Selection
from almirant_webhooks.storage.engine import DISABLED_AT_ONCE
from almirant_webhooks.storage.sql import audit, disabling, health, log, results, search, webhooks

from ..conftest import Receiver
from ..support.service import Service
from ..support.steps import SCHEDULE, START, Steps, transaction
from ..web.test_refusals import Doors

MS, DAY = timedelta(milliseconds=1), timedelta(days=1)
AFTER = 5 * DAY
ONCE = Schedule((timedelta(0),))  # a delivery has one attempt


def disable(there: Steps, after: timedelta = AFTER, now: datetime = START + 9 * DAY) -> list[str]:
    """Take one step; return the webhooks that it has disabled."""
    with transaction(there.conn):
        return [change.webhook_id for change in disabling.disable_down(there.conn, after, now).webhooks]


def attempt(there: Steps, webhook: Webhook, at: datetime, outcome: Outcome = Outcome.TIMEOUT, **more: Any) -> None:
    """Make the one attempt of a new event at a webhook that subscribes to leads."""
    there.event(at)
    record(there, webhook, at, outcome, **more)


def record(there: Steps, webhook: Webhook, at: datetime, outcome: Outcome = Outcome.TIMEOUT, **more: Any) -> None:
    """End whatever is due at a webhook."""
    ended = [Result(claim, outcome, at, 5, **more) for claim in there.claim(webhook, at)]
    assert ended
    with transaction(there.conn):
        results.record(there.conn, ended, ONCE)


def told(there: Steps) -> list[dict[str, Any]]:
    """Return the events `webhook.disabled`, of operators and of projects."""
    rows = there.conn.execute("SELECT body FROM events WHERE event_type LIKE '%webhook.disabled' ORDER BY seq")
    return [json.loads(row[0]) for row in rows]


@pytest.fixture
def webhook(steps: Steps) -> Webhook:
    """A webhook of a project."""
    return steps.webhook(events=["lead.*"])


def test_it_is_disabled_once_its_failures_last_for_so_long(steps: Steps, webhook: Webhook) -> None:
    """From the first failed attempt to the newest one, to the millisecond: not until now."""
    attempt(steps, webhook, START)
    attempt(steps, webhook, START + AFTER - MS)
    assert disable(steps, now=START + 100 * DAY) == []
    attempt(steps, webhook, START + AFTER, cause="no answer within 10 s")
    assert disable(steps) == [webhook.id]
    assert disable(steps) == []
    shown = webhooks.get(steps.conn, webhook.id)
    assert (shown.enabled, shown.disabled_at) == (False, clock.text(START + 9 * DAY))
    assert (
        shown.disabled_reason == f"nothing but failures since {clock.text(START)}, the last one: no answer within 10 s"
    )


def test_what_comes_then_is_held_and_the_trail_and_the_verdict_say_who_did_it(steps: Steps, webhook: Webhook) -> None:
    """As for any disabled webhook; the actor is the service."""
    for at in (START, START + AFTER):
        attempt(steps, webhook, at, Outcome.HTTP_ERROR, status_code=503)
    disable(steps)
    (entry,) = audit.entries(steps.conn, AuditSelection(webhook_id=webhook.id, action="webhook.disabled"))
    assert (entry["actor"], entry["detail"]) == (SERVICE, f"nothing but failures since {clock.text(START)}")
    steps.event(START + 9 * DAY)
    assert steps.claim(webhook, START + 10 * DAY) == []
    row = search.newest(steps.conn, Selection(webhook_id=webhook.id))[0]
    assert row["held"] == 1
    (outcome,) = log.event(steps.conn, row["event_id"])["outcomes"]
    assert "by the service (nothing but failures since" in outcome["verdict"]
    assert "the last one: status 503" in outcome["verdict"]


def test_operators_and_the_project_are_told_once(steps: Steps, webhook: Webhook) -> None:
    """With the same content; of what a person disables nobody is."""
    operators = steps.webhook(project_id=RESERVED_PROJECT, events=["webhook.disabled"])
    channel = steps.webhook(events=["almirant.webhook.disabled"])
    for at in (START, START + AFTER):
        attempt(steps, webhook, at, cause="no answer within 10 s")
    with transaction(steps.conn):
        done = disabling.disable_down(steps.conn, AFTER, START + AFTER)
    assert done.touched == {operators.id, channel.id}
    ours, theirs = told(steps)
    assert (ours["type"], theirs["type"]) == ("webhook.disabled", "almirant.webhook.disabled")
    assert (
        ours["data"]
        == theirs["data"]
        == {
            "webhook": {"id": webhook.id, "projectId": "p", "host": "example.com"},
            "disabledAt": clock.text(START + AFTER),
            "failingSince": clock.text(START),
            "lastFailureAt": clock.text(START + AFTER),
            "lastSuccessAt": None,
            "failuresInARow": 2,
            "cause": "no answer within 10 s",
        }
    )
    with transaction(steps.conn):
        webhooks.enable(steps.conn, webhook.id, discard_held=False, now=START + AFTER)
        webhooks.disable(steps.conn, webhook.id, START + AFTER)
    assert disable(steps) == []
    assert webhooks.get(steps.conn, webhook.id).disabled_reason is None
    assert len(told(steps)) == 2


def test_without_a_delivery_that_has_failed_for_good_it_goes_on(steps: Steps, webhook: Webhook) -> None:
    """The schedule may be longer than the setting."""
    steps.event()
    at = START
    for wait in SCHEDULE.waits[:-1]:
        at += wait
        steps.attempt(webhook, at, Outcome.TIMEOUT)
    assert disable(steps, timedelta(minutes=30)) == []
    steps.attempt(webhook, at + SCHEDULE.waits[-1], Outcome.TIMEOUT)
    assert disable(steps, timedelta(minutes=30)) == [webhook.id]


@pytest.mark.parametrize("place", ["first", "last", "both"])
def test_an_interrupted_attempt_does_not_count(steps: Steps, webhook: Webhook, place: str) -> None:
    """Neither as the first failure nor as the newest one, nor does a delivery that ends by it."""
    ends = {"first": (True, False), "last": (False, True), "both": (True, True)}[place]
    for at, is_interrupted in zip((START, START + AFTER), ends, strict=True):
        attempt(steps, webhook, at, Outcome.INTERRUPTED if is_interrupted else Outcome.TIMEOUT)
        with transaction(steps.conn):
            steps.conn.execute("UPDATE deliveries SET state = 'failed', next_attempt_at = NULL WHERE state = 'pending'")
    assert disable(steps, timedelta(days=1)) == []


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.HTTP_ERROR])
def test_a_test_and_a_notice_count_for_nothing(steps: Steps, outcome: Outcome) -> None:
    """A failed one prolongs nothing, and one that arrives ends nothing."""
    webhook = steps.webhook(events=["lead.*", "almirant.*"])
    attempt(steps, webhook, START)
    attempt(steps, webhook, START + 2 * DAY)
    with transaction(steps.conn):
        webhooks.request_test(steps.conn, webhook.id, "lead.created", "{}", START + AFTER)
        health.tell(steps.conn, [("webhook.failing", {"webhook": {"projectId": "p"}})], START + AFTER)
    record(steps, webhook, START + AFTER, outcome, status_code=200)
    assert disable(steps) == []
    assert disable(steps, 2 * DAY) == [webhook.id]


def test_a_resend_that_fails_does_not_count_and_one_that_arrives_begins_anew(steps: Steps, webhook: Webhook) -> None:
    """Any success is one."""
    attempt(steps, webhook, START)
    delivery = steps.only()["delivery_id"]
    steps.resend(delivery, START + AFTER)
    record(steps, webhook, START + AFTER)
    assert disable(steps) == []
    attempt(steps, webhook, START + AFTER)
    steps.resend(delivery, START + AFTER)
    record(steps, webhook, START + AFTER, Outcome.SUCCESS, status_code=200)
    assert disable(steps) == []
    for at in (START + AFTER + DAY, START + 2 * AFTER):
        attempt(steps, webhook, at)
    assert disable(steps, 4 * DAY + MS) == []
    assert disable(steps, 4 * DAY) == [webhook.id]


@pytest.mark.parametrize("order", ["before", "between", "behind"])
def test_a_success_that_is_recorded_in_the_same_moment_decides_by_its_place(steps: Steps, order: str) -> None:
    """In one transaction with the failure that would have been the last straw; what follows it is counted anew."""
    webhook = steps.webhook(events=["lead.*"], options={})
    attempt(steps, webhook, START)
    for _ in range(3):
        steps.event(START + AFTER)
    claims = steps.claim(webhook, START + AFTER)
    place = {"before": 0, "between": 1, "behind": 2}[order]
    ended = [
        Result(claim, Outcome.SUCCESS if number == place else Outcome.TIMEOUT, START + AFTER, 5)
        for number, claim in enumerate(claims)
    ]
    with transaction(steps.conn):
        results.record(steps.conn, ended, ONCE)
    assert disable(steps) == []
    attempt(steps, webhook, START + AFTER + DAY)
    assert disable(steps, DAY) == ([webhook.id] if order != "behind" else [])


def test_a_success_that_is_recorded_after_it_leaves_it_disabled(steps: Steps, webhook: Webhook) -> None:
    """Of a request that was under way: that delivery has succeeded, and somebody decides about the webhook."""
    for at in (START, START + AFTER):
        attempt(steps, webhook, at)
    steps.event(START + AFTER)
    (claim,) = steps.claim(webhook, START + AFTER)
    assert disable(steps) == [webhook.id]
    steps.record(claim, Outcome.SUCCESS, START + 9 * DAY, status_code=200)
    shown = webhooks.get(steps.conn, webhook.id)
    assert (shown.enabled, bool(shown.disabled_reason)) == (False, True)
    assert search.newest(steps.conn, Selection(state="succeeded"))


def test_enabling_starts_the_count_anew(steps: Steps, webhook: Webhook) -> None:
    """Right after it was disabled too: one further failure does not disable it again."""
    for at in (START, START + AFTER):
        attempt(steps, webhook, at)
    assert disable(steps) == [webhook.id]
    with transaction(steps.conn):
        webhooks.enable(steps.conn, webhook.id, discard_held=False, now=START + 9 * DAY)
    shown = webhooks.get(steps.conn, webhook.id)
    assert (shown.enabled, shown.disabled_at, shown.disabled_reason) == (True, None, None)
    assert disable(steps) == []
    attempt(steps, webhook, START + 9 * DAY)
    assert disable(steps, MS) == []
    attempt(steps, webhook, START + 9 * DAY + AFTER)
    assert disable(steps) == [webhook.id]


def test_webhooks_of_operators_are_never_disabled_by_the_service(steps: Steps) -> None:
    """Or nobody would be told of anything."""
    operators = steps.webhook(project_id=RESERVED_PROJECT)
    for at in (START, START + AFTER):
        with transaction(steps.conn):
            health.tell(steps.conn, [("webhook.failing", {"webhook": {"projectId": "p"}})], at)
        record(steps, operators, at)
    assert disable(steps) == []


def test_one_that_is_disabled_or_deleted_is_left_alone(steps: Steps) -> None:
    """Whoever disabled it."""
    off, gone = steps.webhook(events=["lead.*"]), steps.webhook(events=["lead.*"])
    for at in (START, START + AFTER):
        steps.event(at)
        for webhook in (off, gone):
            record(steps, webhook, at)
    with transaction(steps.conn):
        webhooks.disable(steps.conn, off.id, START)
        webhooks.delete(steps.conn, gone.id, START)
    assert disable(steps) == []
    assert webhooks.get(steps.conn, off.id).disabled_reason is None


def test_a_step_disables_so_many_at_most_and_the_next_one_goes_on(steps: Steps) -> None:
    """Until none is left."""
    made = [steps.webhook(events=["lead.*"]) for _ in range(DISABLED_AT_ONCE + 3)]
    values = (clock.text(START), clock.text(START + AFTER))
    steps.conn.execute(
        "UPDATE webhooks SET down_since = ?, down_until = ?, down_given_up = 1, down_cause = 'x'", values
    )
    first, second = disable(steps), disable(steps)
    assert (len(first), len(second)) == (DISABLED_AT_ONCE, 3)
    assert {*first, *second} == {webhook.id for webhook in made}


@pytest.mark.parametrize(("since", "until"), [("nonsense", None), (None, "2026"), ("9999-99-99", "x"), ("", "")])
@pytest.mark.sqlite
def test_times_that_were_written_by_hand_disable_nothing(
    steps: Steps, webhook: Webhook, since: str | None, until: str | None
) -> None:
    """And stop no step."""
    steps.conn.execute("UPDATE webhooks SET down_since = ?, down_until = ?, down_given_up = 1", (since, until))
    assert disable(steps, MS) == []
    attempt(steps, webhook, START)
    disable(steps, MS)


# The faces


@pytest.fixture
async def doors(service: Service) -> AsyncIterator[Doors]:
    """A daemon that serves its API and its pages, and commands beside it."""
    service.options["delivery"] = {"disable_after": "5d"}
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Doors(service, client)


async def test_every_face_says_who_disabled_it_since_when_and_why(doors: Doors) -> None:
    """The command, the API, the list and the page; once it is enabled none does."""
    service, now = doors.service, clock.now()
    hostile = "<b>down</b>"
    service.write(
        lambda conn: conn.execute(
            "UPDATE webhooks SET down_since = ?, down_until = ?, down_given_up = 1, down_cause = ?",
            (clock.text(now - 6 * DAY), clock.text(now), hostile),
        )
    )
    service.write(disabling.disable_down, AFTER, now)
    reason = f"nothing but failures since {clock.text(now - 6 * DAY)}, the last one: {hostile}"
    path = f"/webhooks/{doors.webhook}"
    shown = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "show", doors.webhook, "--json"))
    (listed,) = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "list", "--json"))
    _, answer = await doors.api.call("GET", f"/api/v1{path}", None)
    for row in (shown, listed, answer):
        assert (row["disabled_at"], row["disabled_reason"]) == (clock.text(now), reason)
    in_words = await asyncio.to_thread(doors.shell.ours, "webhook", "show", doors.webhook)
    assert in_words.count("nothing but failures since") == 1
    words = f"{doors.webhook} was disabled by the service at {clock.text(now)}: {reason}"
    assert words in await asyncio.to_thread(doors.shell.ours, "webhook", "list")
    for page in ("/webhooks", path):
        text = await doors.pages.get(page, None)
        assert hostile not in text
        assert reason in html.unescape(text)
    assert "The service disabled this webhook" in text
    assert "the service" in await doors.pages.get("/audit", None)
    await doors.pages.post(f"{path}/enable", None, held="deliver")
    assert (await doors.api.call("GET", f"/api/v1{path}", None))[1]["disabled_reason"] is None
    assert "disabled by the service" not in await asyncio.to_thread(doors.shell.ours, "webhook", "list")
    assert "nothing but failures" not in await doors.pages.get(path, None)


async def test_a_running_daemon_disables_it_and_tells(service: Service, receiver: Receiver) -> None:
    """Log, metric, event for operators; what comes then is held."""
    service.options["delivery"] = {"retry_schedule": ["0s"], "disable_after": "1h"}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=500 if request.path == "/project" else 200)

    receiver.answer = answer
    await service.start()
    webhook = service.webhook(receiver.url.replace("/in", "/project"))
    operators = service.webhook(receiver.url.replace("/in", "/operators"), "webhook.disabled", project=RESERVED_PROJECT)
    service.insert({})
    await service.until(lambda: service.log(state="failed", webhook_id=webhook.id))
    await service.stop()
    hours_ago = clock.text(clock.now() - timedelta(hours=2))
    service.write(lambda conn: conn.execute("UPDATE webhooks SET down_since = ?", (hours_ago,)))
    daemon = await service.start()
    await service.until(lambda: service.log(state="succeeded", webhook_id=operators.id))
    (body,) = [json.loads(request.body) for request in receiver.requests if request.path == "/operators"]
    assert (body["type"], body["data"]["failingSince"]) == ("webhook.disabled", hours_ago)
    await service.until(lambda: "almirant_webhooks_webhooks_disabled_total 1.0" in daemon.metrics.page().decode())
    before = len(receiver.requests)
    service.insert({})
    await service.until(lambda: service.log(state="held", webhook_id=webhook.id))
    assert len(receiver.requests) == before


async def test_without_the_setting_nothing_is_disabled(service: Service) -> None:
    """The default: never."""
    service.migrate()
    webhook = service.webhook("https://example.com/in")
    service.write(
        lambda conn: conn.execute(
            "UPDATE webhooks SET down_since = '2020-01-01T00:00:00.000Z', down_until = '2026-01-01T00:00:00.000Z', "
            "down_given_up = 1, down_cause = 'x'"
        )
    )
    await service.start()
    await service.until_upkeep_rests()
    assert service.read(webhooks.get, webhook.id).enabled
