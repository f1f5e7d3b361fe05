"""When the last attempts of webhooks with a rate limit began, and how many deliveries wait for it. Nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ... import clock
from ...rules import rates
from ...rules.rates import Rate
from ..engine import Start
from .session import Session

NEWEST = 4096  # attempts of all webhooks that are looked at for what began before a limit was set, some 20 ms
# So much of a time as text tells parts of a span apart, none longer than a hundredth of it: 10 ms, 100 ms and 10 s.
_PART = {1: 22, 60: 21, 3600: 18}
_LONGER = 1.02  # a span is looked back to and a bit beyond: it is counted in parts, of which the oldest is left last
# Attempts that counted in a limit as they began: in the index alone, the newest first.
_COUNTED = """
SELECT json_group_array(json_array(at, count)) FROM (
    SELECT max(started_at) AS at, count(*) AS count FROM (
        SELECT started_at FROM attempts INDEXED BY attempts_of_limited
        WHERE limited_webhook = ?1 AND started_at > ?2 ORDER BY started_at DESC LIMIT ?3)
    GROUP BY substr(started_at, 1, ?4))
"""
_OPEN = """
SELECT json_group_array(json_array(d.webhook_id, d.started_at))
FROM json_each(?) v CROSS JOIN deliveries d INDEXED BY deliveries_in_flight ON d.webhook_id = v.value
WHERE d.in_flight = 1 AND d.test = 0 AND d.started_at IS NOT NULL
"""
_CHANGED_SINCE = """
SELECT w.id FROM json_each(?1) v CROSS JOIN webhooks w ON w.id = v.value
WHERE w.updated_at > ?2 AND w.updated_at <> w.created_at
"""
_BEFORE_THE_LIMIT = """
SELECT json_group_array(json_array(d.webhook_id, a.started_at))
FROM (SELECT delivery_id, started_at, limited_webhook FROM attempts ORDER BY rowid DESC LIMIT ?3) a
CROSS JOIN deliveries d ON d.id = a.delivery_id
WHERE a.started_at > ?2 AND a.limited_webhook IS NULL AND d.test = 0
AND d.webhook_id IN (SELECT value FROM json_each(?1))
"""
# Due, or asked for one by one or with many others; of a webhook that is enabled and has a rate limit.
_WAITING = """
SELECT w.id, w.rate_limit,
    (SELECT count(*) FROM (SELECT 1 FROM deliveries d INDEXED BY deliveries_due_of_a_webhook WHERE d.webhook_id = w.id
        AND d.generation = w.generation AND d.state = 'pending' AND d.in_flight = 0 AND d.next_attempt_at <= ?2 LIMIT ?3))
  + (SELECT count(*) FROM (SELECT 1 FROM deliveries d INDEXED BY deliveries_to_resend WHERE d.webhook_id = w.id
        AND d.resend_requested_at IS NOT NULL AND d.in_flight = 0 AND d.test = 0
        AND (d.next_attempt_at IS NULL OR d.next_attempt_at > ?2) LIMIT ?3)) AS waiting
FROM webhooks w WHERE w.rate_limit IS NOT NULL AND w.enabled = 1 AND w.deleted_at IS NULL
AND (w.id IN (SELECT value FROM json_each(?1)) OR ?1 IS NULL)
"""


def waiting(conn: Session, ids: Sequence[str] | None, now: datetime, most: int) -> dict[str, int]:
    """Return how many deliveries wait for the rate limit of each of these webhooks, or of all; `most` at most of each.

    A webhook with a place left, for which nothing waits or which is disabled, is left out.
    """
    asked = None if ids is None else json.dumps(list(ids))
    rows = [row for row in conn.execute(_WAITING, (asked, clock.text(now), most)).fetchall() if row[2]]
    limits = {row[0]: rate for row in rows if (rate := rates.parse(row[1])) is not None}
    starts = recent_starts(conn, limits, now) if limits else {}
    full = {
        webhook for webhook, rate in limits.items() if sum(start.attempts for start in starts[webhook]) >= rate.most
    }
    return {row[0]: min(row[2], most) for row in rows if row[0] in full}


def recent_starts(
    conn: Session, limits: Mapping[str, Rate], now: datetime, newest: int = NEWEST
) -> dict[str, list[Start]]:
    """Return when attempts of each webhook began within the span of its limit, as many as the limit has, or more.

    Tests are left out. What began before a webhook had a limit is found among the `newest` attempts of all webhooks.
    """
    spans = {webhook: timedelta(seconds=_LONGER * rate.seconds) for webhook, rate in limits.items()}
    since = {webhook: clock.text(now - span) for webhook, span in spans.items()}
    starts = {
        webhook: [
            Start(*row) for row in conn.read_rows(_COUNTED, webhook, since[webhook], rate.most, _PART[rate.seconds])
        ]
        for webhook, rate in limits.items()
    }
    for webhook, at in conn.read_rows(_OPEN, json.dumps(list(limits))):
        starts[webhook].append(Start(at, 1))
    if not limits:
        return {}
    earliest = min(since.values())
    changed = [row[0] for row in conn.execute(_CHANGED_SINCE, (json.dumps(list(limits)), earliest)).fetchall()]
    if changed:
        for webhook, at in conn.read_rows(_BEFORE_THE_LIMIT, json.dumps(changed), earliest, newest):
            if at > since[webhook]:
                starts[webhook].append(Start(at, 1))
    return starts
