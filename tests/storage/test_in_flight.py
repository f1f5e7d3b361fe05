"""An attempt in flight has no row of its own, and is still shown with what it has sent, whatever changes meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import MASK, Claim, Outcome, Webhook
from almirant_webhooks.storage.sql import in_flight, log, results, rotation, webhooks

from ..support.signed import headers_sent
from ..support.steps import SCHEDULE, START, Steps, transaction

SECOND = timedelta(seconds=1)
NEW = "n" * 20


@pytest.fixture
def there(steps: Steps) -> Steps:
    return steps


def begin(there: Steps, webhook: Webhook) -> Claim:
    there.event()
    (claim,) = there.claim(webhook, START)
    return claim


def shown(there: Steps, claim: Claim) -> dict[str, object]:
    """The one attempt of the delivery, as command, API and pages show it."""
    (attempt,) = log.delivery(there.conn, claim.delivery_id)["attempt_list"]
    return {name: attempt[name] for name in ("number", "trigger", "started_at", "outcome", "url", "request_headers")}


def as_sent(claim: Claim, outcome: Outcome | None) -> dict[str, object]:
    return {
        "number": claim.number,
        "trigger": claim.trigger.value,
        "started_at": clock.text(claim.started_at),
        "outcome": outcome and outcome.value,
        "url": claim.url,
        "request_headers": tuple(
            (name, MASK if (name, value) in claim.webhook_headers else value) for name, value in headers_sent(claim)
        ),
    }


def start_rotation(there: Steps, webhook_id: str, wait: timedelta) -> None:
    rotation.start(there.conn, webhook_id, secret=NEW, switch_at=START + wait, actor="operator", now=START + SECOND)


CHANGES: dict[str, Callable[[Steps, str], object]] = {
    "url": lambda there, webhook: webhooks.update(
        there.conn, webhook, url="https://example.org/new", now=START + SECOND
    ),
    "secret": lambda there, webhook: webhooks.update(there.conn, webhook, secret=NEW, now=START + SECOND),
    "both, twice": lambda there, webhook: [
        webhooks.update(
            there.conn, webhook, url=f"https://example.org/{number}", secret=number * 20, now=START + SECOND
        )
        for number in "12"
    ],
    "a new secret from now on": lambda there, webhook: start_rotation(there, webhook, SECOND),
    "a new secret later": lambda there, webhook: start_rotation(there, webhook, timedelta(hours=24)),
    "headers": lambda there, webhook: webhooks.update(
        there.conn, webhook, options={"headers": {"X-Old": None, "X-New": "a"}}, now=START + SECOND
    ),
    "disabled": lambda there, webhook: webhooks.disable(there.conn, webhook, START + SECOND),
    "nothing": lambda there, webhook: None,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_an_attempt_in_flight_has_sent_is_shown_whatever_its_webhook_becomes(there: Steps, change: str) -> None:
    """While it is in flight, after its end, and where a crash has left it open."""
    webhook = there.webhook(options={"headers": {"X-Old": "a value that is a secret", "X-Team": "7"}})
    ended, left = begin(there, webhook), begin(there, webhook)
    with transaction(there.conn):
        CHANGES[change](there, webhook.id)
    assert shown(there, ended) == as_sent(ended, None)
    there.record(ended, Outcome.SUCCESS, START + SECOND, status_code=200)
    assert shown(there, ended) == as_sent(ended, Outcome.SUCCESS)
    with transaction(there.conn):
        assert results.interrupt_open(there.conn, SCHEDULE, START + 2 * SECOND) == 1
    assert shown(there, left) == as_sent(left, Outcome.INTERRUPTED)


@pytest.mark.parametrize("now", [timedelta(hours=hours) for hours in (1, 24, 48, 49)])
def test_signatures_of_a_change_of_secret_are_those_of_the_attempts_own_time(there: Steps, now: timedelta) -> None:
    """Before the switch, in the day of both, and where the pruner forgets the secret before it during the attempt."""
    webhook = there.webhook()
    with transaction(there.conn):
        start_rotation(there, webhook.id, timedelta(hours=24))
    there.event()
    (claim,) = there.claim(webhook, START + now - SECOND)
    with transaction(there.conn):
        rotation.settle(there.conn, START + now)
    assert shown(there, claim) == as_sent(claim, None)


def test_a_change_that_is_taken_back_leaves_what_was_sent(there: Steps) -> None:
    """The signature of the secret that was to come included."""
    webhook = there.webhook()
    with transaction(there.conn):
        start_rotation(there, webhook.id, timedelta(hours=24))
    claim = begin(there, webhook)
    assert "X-Almirant-Signature-Next" in dict(headers_sent(claim))
    with transaction(there.conn):
        rotation.cancel(there.conn, webhook.id, actor="operator", now=START + SECOND)
    assert shown(there, claim) == as_sent(claim, None)


@pytest.mark.parametrize(
    "gone", ["UPDATE webhooks SET deleted_at = created_at, secret = '', url = ''", "DELETE FROM events"]
)
def test_an_attempt_whose_webhook_or_event_is_gone_is_interrupted_all_the_same(there: Steps, gone: str) -> None:
    """A start must not end in it: its URL and headers are not known any more."""
    claim = begin(there, there.webhook())
    if isinstance(there.conn, sqlite3.Connection):
        there.conn.execute("PRAGMA foreign_keys=OFF")  # as in an operator's shell
    there.conn.execute(gone)
    with transaction(there.conn):
        assert results.interrupt_open(there.conn, SCHEDULE, START + SECOND) == 1
    row = there.conn.execute(
        "SELECT outcome, number FROM attempts WHERE delivery_id = ?", (claim.delivery_id,)
    ).fetchone()
    assert tuple(row) == ("interrupted", 1)


def test_an_attempt_that_has_ended_leaves_nothing_in_its_delivery(there: Steps) -> None:
    """What was in flight is told once: by the delivery, and then by the attempt's row."""
    webhook = there.webhook()
    claim = begin(there, webhook)
    assert there.conn.execute("SELECT count(*) FROM attempts").fetchone()[0] == 0
    with transaction(there.conn):
        webhooks.update(there.conn, webhook.id, secret=NEW, now=START)
    there.record(claim, Outcome.HTTP_ERROR, START + SECOND, status_code=500)
    row = there.conn.execute("SELECT in_flight, started_at, manual, sent FROM deliveries").fetchone()
    assert tuple(row) == (0, None, 0, None)
    assert there.conn.execute("SELECT count(*) FROM attempts").fetchone()[0] == 1
    assert there.conn.execute("SELECT count(*) FROM attempt_log").fetchone()[0] == 1


@pytest.mark.sqlite  # the columns of another engine take no such time
@pytest.mark.parametrize(
    ("table", "column"), [("webhooks", "headers"), ("deliveries", "sent"), ("deliveries", "started_at")]
)
def test_an_attempt_whose_row_was_broken_by_hand_ends_no_start(steps: Steps, table: str, column: str) -> None:
    """Its headers are unknown then, and it is interrupted as any other."""
    begin(steps, steps.webhook())
    steps.conn.execute(f"UPDATE {table} SET {column} = '[1]'")
    (attempt,) = in_flight.all_open(steps.conn)
    assert attempt.headers == in_flight.UNKNOWN
