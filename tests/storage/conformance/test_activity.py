"""How attempts went: counted by five minutes, by the hour later, and by the status of each that failed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from almirant_webhooks.model import Outcome, Result, Webhook
from almirant_webhooks.rules.activity import SPANS, Counted
from almirant_webhooks.storage.sql import activity

from .engines import START, Engine

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def _end(engine: Engine, webhook: Webhook, minutes: int, outcome: Outcome, code: int | None = None) -> None:
    """Have an attempt begin so many minutes after the start, and end."""
    at = START + minutes * MINUTE
    engine.insert()
    engine.take(at)
    (claim,) = engine.claim(webhook, at, 1)
    engine.batch(at, results=[Result(claim, outcome, at, 5 + minutes, code)])


def _fold(engine: Engine, minutes: int) -> None:
    """Sweep through the log."""
    now = START + minutes * MINUTE
    walk = engine.pruning.log(succeeded=30 * DAY, failed=90 * DAY, now=now)
    more = True
    while more:
        with engine.deliveries.transaction(engine.session):
            more = walk.step(engine.session, 2)


def _counted(engine: Engine, webhook: Webhook, span: str, minutes: int) -> Counted:
    return engine.reading.activity.counted(engine.session, [webhook.id], SPANS[span], START + minutes * MINUTE)


def test_an_hour_is_the_hour_before_now(engine: Engine) -> None:
    """Counted in whole five minutes, across the turn of the hour."""
    webhook = engine.webhook()
    for minutes in (4, 6, 58, 61):
        _end(engine, webhook, minutes, Outcome.SUCCESS)
    starts = [part["start"][11:] for part in _counted(engine, webhook, "1h", 62)["parts"]]
    assert starts == ["09:05", "09:55", "10:00"]
    hours = _counted(engine, webhook, "24h", 62)["parts"]
    assert [(part["start"][11:], part["succeeded"]) for part in hours] == [("09", 3), ("10", 1)]


def test_every_attempt_that_failed_is_counted_by_its_status(engine: Engine) -> None:
    """Those before the last of a delivery too; a code that HTTP does not know as its class; an interrupted one is none."""
    webhook = engine.webhook()
    ends = ((Outcome.HTTP_ERROR, 503), (Outcome.HTTP_ERROR, 555), (Outcome.HTTP_ERROR, 599), (Outcome.CONNECTION_ERROR, None),
            (Outcome.INTERRUPTED, None), (Outcome.SUCCESS, 204))  # fmt: skip
    for outcome, code in ends:
        _end(engine, webhook, 1, outcome, code)
    (retried, *_) = engine.claim(webhook, START + 2 * MINUTE, 1)
    engine.batch(START + 2 * MINUTE, results=[Result(retried, Outcome.HTTP_ERROR, START + 2 * MINUTE, 5, 503)])
    for span in SPANS:
        counted = _counted(engine, webhook, span, 3)
        assert counted["failures"] == {"503": 2, "5xx": 2, "connection error": 1}, span
        assert sum(part["failed"] for part in counted["parts"]) == 5
        assert counted["complete"]


def test_five_minutes_become_hours_and_nothing_is_lost(engine: Engine) -> None:
    """In steps of two rows; the current hour and the one before stay apart."""
    webhook = engine.webhook()
    for minutes in (1, 2, 12, 33, 59, 61, 121):
        _end(engine, webhook, minutes, Outcome.HTTP_ERROR, 503)
    before = [_counted(engine, webhook, span, 125) for span in ("24h", "7d", "30d")]
    _fold(engine, 125)
    rows = engine.session.execute("SELECT hour, failed FROM webhook_hours ORDER BY hour").fetchall()
    assert [(row[0][11:], row[1]) for row in rows] == [("09", 5), ("10:00", 1), ("11:00", 1)]
    rows = engine.session.execute("SELECT hour, attempts FROM webhook_failures ORDER BY hour").fetchall()
    assert [(row[0][11:], row[1]) for row in rows] == [("09", 5), ("10:00", 1), ("11:00", 1)]
    assert [_counted(engine, webhook, span, 125) for span in ("24h", "7d", "30d")] == before
    assert before[0]["parts"][0]["longest_ms"] == 5 + 59
    # One that is recorded late is folded by the next sweep.
    _end(engine, webhook, 40, Outcome.HTTP_ERROR, 503)
    _fold(engine, 125)
    assert _counted(engine, webhook, "24h", 125)["failures"] == {"503": 8}
    assert [part["failed"] for part in _counted(engine, webhook, "24h", 125)["parts"]] == [6, 1, 1]


def test_what_was_not_looked_at_is_said(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose receivers answered with all codes for a month costs no page more than so many rows."""
    webhook = engine.webhook()
    for code in (500, 501, 502):
        _end(engine, webhook, 1, Outcome.HTTP_ERROR, code)
    monkeypatch.setattr(activity, "LOOKED_AT", 2)
    assert not _counted(engine, webhook, "24h", 2)["complete"]


def test_counts_are_kept_for_90_days_and_go_with_their_webhook(engine: Engine) -> None:
    """No row is left of either kind."""
    webhook = engine.webhook()
    _end(engine, webhook, 0, Outcome.TIMEOUT)
    engine.delete(webhook)
    gone = 1
    while gone:
        with engine.deliveries.transaction(engine.session):
            gone = engine.pruning.erase_deleted(engine.session, 1)
    other = engine.webhook()
    _end(engine, other, 0, Outcome.TIMEOUT)
    _fold(engine, 91 * 24 * 60)
    for table in ("webhook_hours", "webhook_failures"):
        assert engine.session.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0, table


def test_what_was_given_up_is_counted_from_the_delivery_that_failed_first(engine: Engine) -> None:
    """It was made before its first failure; what had failed before the last success is none of it."""
    webhook = engine.webhook(now=START - DAY)
    engine.insert()
    engine.take(START)
    for minutes in (1, 10, 60):
        (claim,) = engine.claim(webhook, START + minutes * MINUTE, 1)
        at = START + minutes * MINUTE
        engine.batch(at, results=[Result(claim, Outcome.HTTP_ERROR, at, 5, 503)])
    trouble = engine.reading.summaries.trouble(engine.session, webhook.id)
    assert (trouble["given_up"], trouble["failures_in_a_row"]) == (1, 3)
    _end(engine, webhook, 70, Outcome.SUCCESS)
    _end(engine, webhook, 80, Outcome.HTTP_ERROR, 503)
    assert engine.reading.summaries.trouble(engine.session, webhook.id)["given_up"] == 0


def test_a_test_that_failed_is_not_given_up(engine: Engine) -> None:
    """A resend of many leaves it out, so nothing would send it again."""
    webhook = engine.webhook(now=START - DAY)
    _end(engine, webhook, 0, Outcome.HTTP_ERROR, 503)
    engine.test(webhook, START + MINUTE)
    claims = engine.claim(webhook, START + MINUTE, 2)
    ends = START + 2 * MINUTE
    engine.batch(ends, results=[Result(claim, Outcome.HTTP_ERROR, ends, 5, 503) for claim in claims])
    ended = engine.session.execute("SELECT state FROM deliveries WHERE test = 1").fetchall()
    assert [row[0] for row in ended] == ["failed"]
    assert engine.reading.summaries.trouble(engine.session, webhook.id)["given_up"] == 0
