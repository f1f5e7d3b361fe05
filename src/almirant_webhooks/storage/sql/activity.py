"""Counts of attempts by the time of their start, and of those that failed by their status. Nothing here writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from ... import clock
from ...rules.activity import Counted, CountedPart, Span
from .session import Session

LOOKED_AT = 20_000  # rows of failures, of all webhooks together

_PARTS = """
SELECT substr(h.hour, 1, ?3) AS start, sum(h.succeeded) AS succeeded, sum(h.failed) AS failed,
       sum(h.duration_ms) AS duration_ms, max(h.longest_ms) AS longest_ms
FROM json_each(?1) v CROSS JOIN webhook_hours h ON h.webhook_id = v.value AND h.hour >= ?2
GROUP BY 1 ORDER BY 1
"""
_FAILURES = """
SELECT newest.status, sum(newest.attempts), count(*) FROM (
    SELECT f.status, f.attempts FROM webhook_failures f WHERE f.webhook_id = ? AND f.hour >= ? ORDER BY f.hour DESC LIMIT ?
) newest GROUP BY newest.status
"""


def counted(conn: Session, webhook_ids: Sequence[str], span: Span, now: datetime) -> Counted:
    """Return the counts of some webhooks together in a span of time."""
    since = clock.text(span.begin(now))[: span.written]
    rows = conn.execute(_PARTS, (json.dumps(list(webhook_ids)), since, span.written)).fetchall()
    parts: list[CountedPart] = [
        {
            "start": row["start"],
            "succeeded": int(row["succeeded"]),
            "failed": int(row["failed"]),
            "duration_ms": int(row["duration_ms"]),
            "longest_ms": int(row["longest_ms"]),
        }
        for row in rows
    ]
    failures: Counter[str] = Counter()
    room = LOOKED_AT
    for webhook in webhook_ids:
        for status, attempts, looked_at in conn.execute(_FAILURES, (webhook, since, room + 1)):
            failures[status] += int(attempts)
            room -= int(looked_at)
        if room < 0:
            break
    return {"parts": parts, "failures": dict(failures), "complete": room >= 0}
