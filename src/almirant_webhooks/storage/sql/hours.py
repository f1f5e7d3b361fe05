"""Counts of attempts by the time of their start: for every five minutes while they are new, by the hour later.

A row's `hour` is the beginning of a time as text: `2026-01-31T09` is an hour, `2026-01-31T09:35` the five minutes from then on.
So a row is of a span of time where its text is not before the span's own. Functions that write are called inside a transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from ... import clock
from .session import Session

MINUTES = 5
HOUR = 13  # characters
KEPT_APART = timedelta(hours=1)  # five minutes stay apart for the current hour and this long before it

Place = tuple[str, str]  # a webhook, and the beginning of a time
Numbers = Sequence[int]  # succeeded, failed, milliseconds of all together, the longest
FailurePlace = tuple[str, str, str]  # and a status

_COUNT = """
INSERT INTO webhook_hours (webhook_id, hour, succeeded, failed, duration_ms, longest_ms)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (webhook_id, hour) DO UPDATE SET succeeded = webhook_hours.succeeded + excluded.succeeded,
    failed = webhook_hours.failed + excluded.failed, duration_ms = webhook_hours.duration_ms + excluded.duration_ms,
    longest_ms = max(webhook_hours.longest_ms, excluded.longest_ms)
"""
_COUNT_TYPES = "text text int int int int"
_COUNT_FAILURES = """
INSERT INTO webhook_failures (webhook_id, hour, status, attempts)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (webhook_id, hour, status) DO UPDATE SET attempts = webhook_failures.attempts + excluded.attempts
"""
_FAILURE_TYPES = "text text text int"
_APART = """
SELECT webhook_id, hour, succeeded, failed, duration_ms, longest_ms FROM webhook_hours INDEXED BY webhook_hours_apart
WHERE length(hour) > 13 AND hour < ? ORDER BY hour, webhook_id LIMIT ?
"""
_DELETE_APART = """
DELETE FROM webhook_hours WHERE (webhook_id, hour) IN (
    SELECT webhook_id, hour FROM webhook_hours INDEXED BY webhook_hours_apart
    WHERE length(hour) > 13 AND hour < ? ORDER BY hour, webhook_id LIMIT ?)
"""
_FAILURES_APART = """
SELECT webhook_id, hour, status, attempts FROM webhook_failures INDEXED BY webhook_failures_apart
WHERE length(hour) > 13 AND hour < ? ORDER BY hour, webhook_id, status LIMIT ?
"""
_DELETE_FAILURES_APART = """
DELETE FROM webhook_failures WHERE (webhook_id, hour, status) IN (
    SELECT webhook_id, hour, status FROM webhook_failures INDEXED BY webhook_failures_apart
    WHERE length(hour) > 13 AND hour < ? ORDER BY hour, webhook_id, status LIMIT ?)
"""
_DELETE_OLD = """
DELETE FROM webhook_hours WHERE (webhook_id, hour) IN (
    SELECT webhook_id, hour FROM webhook_hours INDEXED BY webhook_hours_by_time WHERE hour < ? LIMIT ?)
"""
_DELETE_OLD_FAILURES = """
DELETE FROM webhook_failures WHERE (webhook_id, hour, status) IN (
    SELECT webhook_id, hour, status FROM webhook_failures INDEXED BY webhook_failures_by_time WHERE hour < ? LIMIT ?)
"""
# Of a deleted webhook, at most so many rows.
ERASE_OF_A_WEBHOOK = (
    "DELETE FROM webhook_hours WHERE (webhook_id, hour) IN "
    "(SELECT webhook_id, hour FROM webhook_hours WHERE webhook_id = ? LIMIT ?)",
    "DELETE FROM webhook_failures WHERE (webhook_id, hour, status) IN "
    "(SELECT webhook_id, hour, status FROM webhook_failures WHERE webhook_id = ? LIMIT ?)",
)


@lru_cache(maxsize=16)  # the attempts that end together have begun at few times
def beginning(started_at: str) -> str:
    """Return the beginning of the five minutes that a time is in."""
    return f"{started_at[:14]}{int(started_at[14:16]) // MINUTES * MINUTES:02}"


def add(conn: Session, counts: Mapping[Place, Numbers], failures: Mapping[FailurePlace, int]) -> None:
    """Add attempts, and those of them that failed by their status."""
    conn.write_rows(_COUNT, _COUNT_TYPES, [(*place, *numbers) for place, numbers in counts.items()])
    if failures:
        conn.write_rows(_COUNT_FAILURES, _FAILURE_TYPES, [(*place, count) for place, count in failures.items()])


def fold(conn: Session, now: datetime, limit: int) -> int:
    """Make hours of five minutes that are old enough, at most `limit` of them; return how many there were."""
    before = _fold_before(now)
    counts: dict[Place, list[int]] = {}
    rows = conn.execute(_APART, (before, limit)).fetchall()
    for webhook, begin, succeeded, failed, duration_ms, longest_ms in rows:
        hour = counts.setdefault((webhook, begin[:HOUR]), [0, 0, 0, 0])
        hour[0] += succeeded
        hour[1] += failed
        hour[2] += duration_ms
        hour[3] = max(hour[3], longest_ms)
    if rows:
        conn.execute(_DELETE_APART, (before, limit))
        add(conn, counts, {})
    return len(rows)


def fold_failures(conn: Session, now: datetime, limit: int) -> int:
    """Do the same with attempts by their status."""
    before = _fold_before(now)
    rows = conn.execute(_FAILURES_APART, (before, limit)).fetchall()
    failures: Counter[FailurePlace] = Counter()
    for webhook, begin, status, attempts in rows:
        failures[webhook, begin[:HOUR], status] += attempts
    if rows:
        conn.execute(_DELETE_FAILURES_APART, (before, limit))
        add(conn, {}, failures)
    return len(rows)


def _fold_before(now: datetime) -> str:
    return clock.text(now - KEPT_APART)[:HOUR]


def prune(conn: Session, before: datetime, limit: int) -> int:
    """Delete the counts of before a time, at most `limit` rows; return how many."""
    return conn.execute(_DELETE_OLD, (clock.text(before)[:HOUR], limit)).rowcount


def prune_failures(conn: Session, before: datetime, limit: int) -> int:
    """Do the same with attempts by their status."""
    return conn.execute(_DELETE_OLD_FAILURES, (clock.text(before)[:HOUR], limit)).rowcount
