"""Counts attempts that have ended for their webhooks: by the time, and what is known of successes and failures.

Call `count` inside the transaction that records them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ... import clock
from ...model import Outcome, Result, Trigger
from ...rules import activity
from ...rules.event_types import is_notice
from . import hours
from .session import Session

_COUNT_WEBHOOKS = """
WITH news (id, success_at, failure_at, anew, failing_since, failures, down_since, down_until, down_cause, given_up)
    AS (VALUES {rows})
UPDATE webhooks SET last_success_at = coalesce(news.success_at, last_success_at),
    last_failure_at = coalesce(news.failure_at, last_failure_at),
    failing_since = CASE WHEN news.anew = 1 THEN news.failing_since
                         ELSE coalesce(webhooks.failing_since, news.failing_since) END,
    failures_in_a_row = news.failures + CASE WHEN news.anew = 1 THEN 0 ELSE failures_in_a_row END,
    down_since = CASE WHEN news.anew = 1 THEN news.down_since ELSE coalesce(webhooks.down_since, news.down_since) END,
    down_until = CASE WHEN news.anew = 1 THEN news.down_until ELSE coalesce(max(webhooks.down_until, news.down_until),
                                                                       webhooks.down_until, news.down_until) END,
    down_cause = CASE WHEN news.anew = 1 THEN news.down_cause ELSE coalesce(news.down_cause, webhooks.down_cause) END,
    down_given_up = CASE WHEN news.anew = 1 THEN news.given_up ELSE max(webhooks.down_given_up, news.given_up) END
FROM news WHERE webhooks.id = news.id
"""
_NEWS_TYPES = "text time time int time int time time text int"


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


def count(conn: Session, results: Iterable[Result], given_up: Collection[str]) -> None:
    """Add attempts to their webhooks' counts by the time and to what is known of their last success and failures.

    `given_up` are deliveries that have failed for good by them.

    A test counts by the time alone. A notice does not count of the failures in a row either: it makes its webhook neither
    failing nor well, since what is sent for a notice makes no other.
    """
    counts: dict[hours.Place, list[int]] = {}
    failures: Counter[hours.FailurePlace] = Counter()
    news: dict[str, _News] = {}
    for result in results:
        claim = result.claim
        started_at = clock.text(claim.started_at)
        succeeded = result.outcome is Outcome.SUCCESS
        begin = hours.beginning(started_at)
        numbers = counts.setdefault((claim.webhook_id, begin), [0, 0, 0, 0])
        numbers[0 if succeeded else 1] += 1
        numbers[2] += result.duration_ms
        numbers[3] = max(numbers[3], result.duration_ms)
        if not succeeded:
            failures[claim.webhook_id, begin, activity.counted_as(result.outcome, result.status_code)] += 1
        if claim.test:
            continue
        of_webhook = news.get(claim.webhook_id)
        if of_webhook is None:
            of_webhook = news[claim.webhook_id] = _News()
        if succeeded:
            of_webhook.success_at = started_at
        else:
            of_webhook.failure_at = started_at
        if not is_notice(claim.event_type):
            of_webhook.add(result, started_at, gave_up=claim.delivery_id in given_up)
    hours.add(conn, counts, failures)
    conn.write_rows(
        _COUNT_WEBHOOKS,
        _NEWS_TYPES,
        [(webhook, *of_webhook.columns()) for webhook, of_webhook in news.items()],
    )
