"""Counts attempts that have ended for their webhooks: by the hour, and what is known of successes and failures.

Call `count` inside the transaction that records them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ... import clock
from ...model import Outcome, Result, Trigger
from ...rules.event_types import is_notice
from .bulk import write_rows

_COUNT_HOURS = """
INSERT INTO webhook_hours (webhook_id, hour, succeeded, failed, duration_ms, longest_ms)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (webhook_id, hour) DO UPDATE SET succeeded = succeeded + excluded.succeeded,
    failed = failed + excluded.failed, duration_ms = duration_ms + excluded.duration_ms,
    longest_ms = max(longest_ms, excluded.longest_ms)
"""
_COUNT_WEBHOOKS = """
WITH news (id, success_at, failure_at, anew, failing_since, failures, down_since, down_until, down_cause, given_up)
    AS (VALUES {rows})
UPDATE webhooks SET last_success_at = coalesce(news.success_at, last_success_at),
    last_failure_at = coalesce(news.failure_at, last_failure_at),
    failing_since = CASE WHEN news.anew THEN news.failing_since
                         ELSE coalesce(webhooks.failing_since, news.failing_since) END,
    failures_in_a_row = news.failures + CASE WHEN news.anew THEN 0 ELSE failures_in_a_row END,
    down_since = CASE WHEN news.anew THEN news.down_since ELSE coalesce(webhooks.down_since, news.down_since) END,
    down_until = CASE WHEN news.anew THEN news.down_until ELSE coalesce(max(webhooks.down_until, news.down_until),
                                                                       webhooks.down_until, news.down_until) END,
    down_cause = CASE WHEN news.anew THEN news.down_cause ELSE coalesce(news.down_cause, webhooks.down_cause) END,
    down_given_up = CASE WHEN news.anew THEN news.given_up ELSE max(webhooks.down_given_up, news.given_up) END
FROM news WHERE webhooks.id = news.id
"""


@dataclass(slots=True)
class _News:
    """What attempts that have ended tell of their webhook; `anew` says that a success has ended the failures of before.

    `down_since` and what follows it are of scheduled attempts that failed: `delivery.disable_after` counts by them.
    """

    success_at: str | None = None
    failure_at: str | None = None
    anew: bool = False
    failing_since: str | None = None
    failures: int = 0
    down_since: str | None = None
    down_until: str | None = None
    down_cause: str | None = None
    given_up: bool = False

    def add(self, result: Result, started_at: str, *, gave_up: bool) -> None:
        """Count an attempt of an event of a producer's, or of operators'; `gave_up`: its delivery has failed for good."""
        if result.outcome is Outcome.SUCCESS:
            self.anew, self.failing_since, self.failures = True, None, 0
            self.down_since = self.down_until = self.down_cause = None
            self.given_up = False
            return
        self.failing_since = self.failing_since or started_at
        self.failures += 1
        if result.claim.trigger is Trigger.SCHEDULED:
            self.down_since = self.down_since or started_at
            self.down_until = max(self.down_until or started_at, started_at)
            self.down_cause = result.cause or f"status {result.status_code}"
            self.given_up = self.given_up or gave_up

    def columns(self) -> tuple[object, ...]:
        """Return the values of `_COUNT_WEBHOOKS` behind the webhook."""
        failing = self.success_at, self.failure_at, self.anew, self.failing_since, self.failures
        return (*failing, self.down_since, self.down_until, self.down_cause, self.given_up)


def count(conn: sqlite3.Connection, results: Iterable[Result], given_up: Collection[str]) -> None:
    """Add attempts to their webhooks' hours and to what is known of their last success and failures.

    `given_up` are deliveries that have failed for good by them.

    A test counts in the hours alone. A notice does not count of the failures in a row either: it makes its webhook neither
    failing nor well, since what is sent for a notice makes no other.
    """
    hours: dict[tuple[str, str], list[int]] = {}
    news: dict[str, _News] = {}
    for result in results:
        claim = result.claim
        started_at = clock.text(claim.started_at)
        succeeded = result.outcome is Outcome.SUCCESS
        hour = hours.setdefault((claim.webhook_id, started_at[:13]), [0, 0, 0, 0])
        hour[0 if succeeded else 1] += 1
        hour[2] += result.duration_ms
        hour[3] = max(hour[3], result.duration_ms)
        if claim.test:
            continue
        of_webhook = news.setdefault(claim.webhook_id, _News())
        if succeeded:
            of_webhook.success_at = started_at
        else:
            of_webhook.failure_at = started_at
        if not is_notice(claim.event_type):
            of_webhook.add(result, started_at, gave_up=claim.delivery_id in given_up)
    write_rows(conn, _COUNT_HOURS, [(*key, *counts) for key, counts in hours.items()])
    write_rows(conn, _COUNT_WEBHOOKS, [(webhook, *of_webhook.columns()) for webhook, of_webhook in news.items()])
