"""Each list, page and count over a log of 1,000,000 deliveries, where what is looked for can be rare or not there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from almirant_webhooks import clock
from almirant_webhooks.rules.selection import EventSelection, Selection
from almirant_webhooks.storage.sql import log, search, webhooks
from almirant_webhooks.storage.sql.selecting import id_at
from almirant_webhooks.storage.sqlite.connection import Connection, open_database, open_reader, transaction

from .daemon import Bench, scratch
from .table import Figure, Sizes, median

REACH = 100.0  # ms
DAYS = 30
RUNS = 5
WEBHOOKS = 400  # of 20 projects; the first has a third of all, the second is disabled, the last has three deliveries
BUSY, DISABLED, QUIET = 0, 1, WEBHOOKS - 1

# Number n is a delivery and its event: most went well, one in 200 was given up, a few are of their kind alone.
_FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count),
chosen AS (
    SELECT n, CASE WHEN n % 3 = 0 THEN 0 WHEN n % 20 = 1 THEN 1 WHEN n IN (7, :count / 2 + 1, :count - 7) THEN :webhooks - 1
                   ELSE 2 + n * 7919 % (:webhooks - 3) END AS place,
           :start + CAST(n * :span / :count AS INTEGER) AS ms
    FROM numbers
)
INSERT INTO made
SELECT c.n, w.id, w.project_id, printf('dlv_%012x%016x', c.ms, c.n),
       strftime('%Y-%m-%dT%H:%M:%fZ', c.ms / 1000.0, 'unixepoch'),
       CASE WHEN c.n % 100000 = 11 THEN 'sprint.closed' WHEN c.n % 3 = 0 THEN 'work_item.moved' ELSE 'work_item.created' END,
       CASE WHEN c.place = 1 THEN 'pending' WHEN c.n % 200 = 5 THEN 'failed' WHEN c.n % 500 = 7 THEN 'pending'
            WHEN c.n % 50000 = 9 THEN 'cancelled' ELSE 'succeeded' END,
       CASE WHEN c.place = 1 OR c.n % 50000 = 9 THEN NULL WHEN c.n % 100000 = 205 THEN '418' WHEN c.n % 400 = 205 THEN 'timeout'
            WHEN c.n % 200 = 5 THEN '500' WHEN c.n % 500 = 7 THEN '503' WHEN c.n % 200000 = 13 THEN '299' ELSE '200' END
FROM chosen c JOIN places w ON w.place = c.place
"""
_TABLES = (
    """
INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body, unmatched)
SELECT n, 'evt_' || n, project_id, event_type, at, at, '{"id": "evt_' || n || '", "data": {"workItem": {"id": "wi_' || n ||
       '", "title": "' || :filler || '"}}}', n % 100000 = 17 FROM made ORDER BY n
""",
    """
INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, next_attempt_at, begun, attempts, tries, last_number,
                        cancelled_reason, created_at, last_status)
SELECT delivery_id, n, 'evt_' || n, webhook_id, state, CASE state WHEN 'pending' THEN '2100-01-01T00:00:00.000Z' END,
       status IS NOT NULL, status IS NOT NULL, status IS NOT NULL, CASE WHEN status IS NOT NULL THEN 1 END,
       CASE state WHEN 'cancelled' THEN 'held for too long' END, at, status FROM made ORDER BY n
""",
    """
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, status_code, cause, url,
                      request_headers, response_headers, response_body)
SELECT delivery_id, 1, 'scheduled', at, 20 + n % 300,
       CASE status WHEN 'timeout' THEN 'timeout' WHEN '200' THEN 'success' WHEN '299' THEN 'success' ELSE 'http_error' END,
       CASE WHEN status GLOB '[0-9]*' THEN CAST(status AS INTEGER) END,
       CASE WHEN status = 'timeout' THEN 'no answer within 10 s' WHEN status NOT GLOB '2*' THEN 'answered ' || status END,
       'https://receiver.example/in', '[["Content-Type", "application/json"]]', '[["Server", "nginx"]]',
       CAST('thanks' AS BLOB) FROM made WHERE status IS NOT NULL ORDER BY n
""",
    """
INSERT INTO webhook_hours
SELECT webhook_id, substr(at, 1, 13), sum(status GLOB '2*'), sum(status NOT GLOB '2*'), sum(20 + n % 300), 320
FROM made WHERE status IS NOT NULL GROUP BY 1, 2
""",
    """
INSERT INTO webhook_failures
SELECT webhook_id, substr(at, 1, 13), status, count(*) FROM made WHERE status NOT GLOB '2*' GROUP BY 1, 2, 3
""",
    "UPDATE webhooks SET enabled = 0, disabled_at = created_at WHERE id = (SELECT id FROM places WHERE place = 1)",
)


def fill(bench: Bench, count: int) -> list[str]:
    """Fill the log; return the webhooks in the order of their places."""
    made = bench.add_webhooks("https://receiver.example", WEBHOOKS, projects=20)
    conn = open_database(bench.database)
    conn.execute("PRAGMA synchronous=OFF")
    conn.execute("PRAGMA temp_store=MEMORY")
    conn.execute("CREATE TEMP TABLE places (place INTEGER PRIMARY KEY, id TEXT, project_id TEXT)")
    conn.execute("CREATE TEMP TABLE made (n INTEGER PRIMARY KEY, webhook_id, project_id, delivery_id, at, event_type, state, status)")  # fmt: skip
    values: dict[str, object] = {
        "count": count,
        "webhooks": WEBHOOKS,
        "start": int((clock.now() - timedelta(days=DAYS)).timestamp() * 1000),
        "span": DAYS * 86_400_000,
        "filler": "x" * 300,
    }
    with transaction(conn):
        for place, one in enumerate(made):
            project_id = webhooks.get(conn, one).project_id
            conn.execute("INSERT INTO places VALUES (?, ?, ?)", (place, one, project_id))
        for statement in (_FILL, *_TABLES):
            conn.execute(statement, {name: value for name, value in values.items() if f":{name}" in statement})
    conn.close()
    return made


def _asked(made: list[str], count: int) -> dict[str, dict[str, Any]]:
    """Return what people look for: common, rare, and nowhere to be found."""
    now = clock.now()
    middle = now - timedelta(days=DAYS / 2)
    return {
        "everything": {},
        "a project": {"project_id": "proj_3"},
        "a busy webhook": {"webhook_id": made[BUSY]},
        "a quiet webhook": {"webhook_id": made[QUIET]},
        "a webhook that is not there": {"webhook_id": "wh_none"},
        "a project that is not there": {"project_id": "none"},
        "failed": {"state": "failed"},
        "failed, a project": {"state": "failed", "project_id": "proj_3"},
        "failed, a quiet webhook": {"state": "failed", "webhook_id": made[QUIET]},
        "cancelled": {"state": "cancelled"},
        "cancelled, a project": {"state": "cancelled", "project_id": "proj_3"},
        "pending": {"state": "pending"},
        "pending, a project": {"state": "pending", "project_id": "proj_3"},
        "held": {"state": "held"},
        "held, a webhook": {"state": "held", "webhook_id": made[DISABLED]},
        "held, a project without": {"state": "held", "project_id": "proj_3"},
        "succeeded": {"state": "succeeded"},
        "status 200": {"status": "200"},
        "status 299": {"status": "299"},
        "status 418": {"status": "418"},
        "status 5xx": {"status": "5xx"},
        "status 4xx, a busy webhook": {"status": "4xx", "webhook_id": made[BUSY]},
        "status timeout, a project": {"status": "timeout", "project_id": "proj_3"},
        "status blocked": {"status": "blocked"},
        "a rare type": {"event_type": "sprint.closed"},
        "a type that is not there": {"event_type": "lead.created"},
        "a rare type, a project": {"event_type": "sprint.closed", "project_id": "proj_3"},
        "an event": {"event_id": f"evt_{count // 2}"},
        "a cause": {"cause": "no answer"},
        "a cause that is not there, a busy webhook": {"cause": "nothing", "webhook_id": made[BUSY]},
        "a day": {"since": middle, "until": middle + timedelta(days=1)},
        "a day, failed, a project": {"since": middle, "until": middle + timedelta(days=1), "state": "failed", "project_id": "proj_3"},
        "a text": {"text": f"wi_{count - 5000}"},
        "a text that is not there": {"text": "nothing of the kind"},
        "a text, a project": {"text": "nothing of the kind", "project_id": "proj_3"},
        "a text, failed": {"text": "nothing of the kind", "state": "failed"},
    }  # fmt: skip


def _timed(call: Callable[[], object], runs: int = RUNS) -> float:
    """Return the median of the milliseconds that a call takes."""
    spans = []
    for _ in range(runs):
        begun = time.perf_counter()
        call()
        spans.append((time.perf_counter() - begun) * 1000)
    return median(spans)


def _queries(conn: Connection, made: list[str], count: int) -> Iterator[tuple[str, float]]:
    """Yield each list with its time: the first page, one from the middle of the log, and the count."""
    deep = id_at(clock.now() - timedelta(days=DAYS / 2))
    for name, asked in _asked(made, count).items():
        selection = Selection(**asked)
        for what, call in {
            "first page": lambda one=selection: search.deliveries(conn, one),
            "deep page": lambda one=selection: search.deliveries(conn, one, cursor=deep),
            "count": lambda one=selection: search.count(conn, one),
        }.items():
            yield f"{name}: {what}", _timed(call)
    of_events: dict[str, dict[str, Any]] = {
        "events": {}, "events, deep": {"cursor": count // 2}, "events of a project": {"project_id": "proj_3"},
        "events of a rare type": {"event_type": "sprint.closed"}, "unmatched events": {"unmatched": True},
        "events of a day": {"since": clock.now() - timedelta(days=15), "until": clock.now() - timedelta(days=14)},
        "events of a project that is not there": {"project_id": "none"},
    }  # fmt: skip
    for name, asked in of_events.items():
        cursor = asked.pop("cursor", None)
        yield name, _timed(partial(log.events, conn, EventSelection(**asked), cursor=cursor))


def _figure(name: str, timed: Iterator[tuple[str, float]]) -> Figure:
    """Return the longest, and name all that are too long."""
    found = [(span, what) for what, span in timed]
    for span, what in found:
        if span >= REACH:
            print(f"{span:.0f} ms: {what}", file=sys.stderr)
    longest, what = max(found, default=(0.0, "nothing"))
    return Figure(
        name,
        f"slowest {longest:.0f} ms ({what})",
        f"median of the {len(found)} {median(span for span, _ in found):.0f} ms",
        f"each < {REACH:.0f} ms",
        longest < REACH,
    )


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Return the longest time of a list."""
    count = sizes.of(1_000_000, 10_000)
    with scratch() as bench:
        made = fill(bench, count)
        reader = open_reader(bench.database)
        yield _figure(f"queries over {count:,} deliveries", _queries(reader, made, count))
        reader.close()
