"""A log that is long already: rows written by SQL, as the daemon would have written them over weeks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from almirant_webhooks import clock

from .daemon import PAYLOAD, Bench
from .release import in_its_release

CHUNK = 100_000
_MADE = """
WITH RECURSIVE numbers (n) AS (SELECT :begin UNION ALL SELECT n + 1 FROM numbers WHERE n < :end - 1)
INSERT INTO made
SELECT n, 'evt_' || lower(hex(randomblob(16))), w.id, w.project_id, w.url,
       printf('dlv_%012x%016x', :start + n * :step, n), strftime('%Y-%m-%dT%H:%M:%fZ', (:start + n * :step) / 1000.0, 'unixepoch')
FROM numbers CROSS JOIN places p ON p.place = n % :places CROSS JOIN webhooks w ON w.id = p.id
"""
_EVENTS = """
INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body)
SELECT (SELECT coalesce(max(seq), 0) FROM events) - :begin + n + 1, event_id, project_id, 'work_item.created', at, at,
       '{"id": "' || event_id || '", "type": "work_item.created", "timestamp": "' || at || '", "projectId": "' || project_id ||
       '", "data": ' || :payload || '}'
FROM made ORDER BY n
"""
_DELIVERIES = """
INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, next_attempt_at, begun, attempts, tries, last_number,
                        created_at, last_status)
SELECT delivery_id, (SELECT max(seq) FROM events) - :end + n + 1, event_id, webhook_id, iif(:due IS NULL, 'succeeded', 'pending'),
       :due, :due IS NULL, :due IS NULL, :due IS NULL, iif(:due IS NULL, 1, NULL), at, iif(:due IS NULL, '200', NULL)
FROM made ORDER BY n
"""
_ATTEMPTS = """
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, status_code, url,
                      request_headers, response_headers, response_body)
SELECT delivery_id, 1, 'scheduled', at, 20, 'success', 200, url, replace(:headers, '<signature>', lower(hex(randomblob(32)))),
       '[["Server", "nginx"], ["Date", "Mon, 23 Nov 2026 09:00:00 GMT"], ["Content-Type", "text/plain"], ["Content-Length", "7"], ["Connection", "keep-alive"]]',
       CAST('thanks' || char(10) AS BLOB)
FROM made ORDER BY n
"""
# What `claim` writes, as long as it writes it.
_HEADERS = '[1, "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", "<signature>"]'


def fill(
    bench: Bench,
    webhooks: Sequence[str],
    count: int,
    *,
    begin: datetime,
    end: datetime,
    due: datetime | None = None,
    payload: str = PAYLOAD,
) -> None:
    """Write events with a delivery each, in turn over the webhooks, made between two times.

    They are due at a time, or else all have succeeded and have an attempt in the log.
    """
    conn = sqlite3.connect(bench.database, isolation_level=None)
    conn.execute("PRAGMA journal_mode=OFF")  # whatever breaks here is thrown away
    conn.execute("PRAGMA synchronous=OFF")
    conn.execute("PRAGMA cache_size=-4000000")
    conn.execute("PRAGMA temp_store=MEMORY")
    conn.execute("CREATE TEMP TABLE places (place INTEGER PRIMARY KEY, id TEXT)")
    conn.executemany("INSERT INTO places VALUES (?, ?)", enumerate(webhooks))
    conn.execute(
        "CREATE TEMP TABLE made (n INTEGER PRIMARY KEY, event_id, webhook_id, project_id, url, delivery_id, at)"
    )
    start = int(begin.timestamp() * 1000)
    values = {
        "start": start,
        "step": (int(end.timestamp() * 1000) - start) // count,
        "places": len(webhooks),
        "due": clock.text(due) if due else None,
        "payload": payload,
        "headers": _HEADERS,
    }
    for first in range(0, count, CHUNK):
        values |= {"begin": first, "end": min(count, first + CHUNK)}
        conn.execute("BEGIN")
        for statement in (_MADE, _EVENTS, _DELIVERIES, *(() if due else (_ATTEMPTS,)), "DELETE FROM made"):
            conn.execute(statement, {name: value for name, value in values.items() if f":{name}" in statement})
        conn.execute("COMMIT")
    conn.execute("PRAGMA journal_mode=WAL")
    conn.close()


@in_its_release
def fill_due(bench: Bench, webhooks: Sequence[str], count: int, *, within: float = 0) -> None:
    """Write deliveries that are due, all of them at the same moment, in so many seconds."""
    now = clock.now()
    fill(bench, webhooks, count, begin=now - timedelta(hours=1), end=now, due=now + timedelta(seconds=within))
