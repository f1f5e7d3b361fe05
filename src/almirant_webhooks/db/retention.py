"""What has had its time, found and removed in small steps by walking through rows in the order of their making."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from .. import clock
from . import resends

HOURS_KEPT = timedelta(days=90)
AUDIT_KEPT = timedelta(days=400)
# Free pages are used again by new rows; only more than these are given back to the file system.
SPARE_PAGES = 1000
COUNTED = 50_000  # rows that a count looks at before it says how far it has come

# Whose last attempt, or creation, was before the time that its state is kept.
_IS_OLD = """
d.in_flight = 0 AND d.resend_requested_at IS NULL AND d.state <> 'pending'
AND coalesce(a.started_at, d.created_at) < CASE d.state WHEN 'succeeded' THEN ?3 ELSE ?4 END
"""
_OLD = f"""
FROM deliveries d LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number
WHERE d.id > ?1 AND d.id < ?2 AND {_IS_OLD}
"""
_NEXT = "SELECT count(*), max(id) FROM (SELECT id FROM deliveries WHERE id > ? AND id < ? ORDER BY id LIMIT ?)"
_EVENTS_LEFT_ALONE = f"""
SELECT count(*) FILTER (WHERE e.created_at < ?3 AND NOT EXISTS (
           SELECT 1 FROM deliveries d LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number
           WHERE d.event_seq = e.seq AND NOT ({_IS_OLD}))), max(e.created_at)
FROM events e WHERE e.seq > ?1 AND e.seq <= ?2
"""
_LONE_EVENTS = """
FROM events e WHERE e.seq > ?1 AND e.created_at < ?2 AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = e.seq)
"""


class Sweep:
    """One walk through all that can be too old; each step looks at no more than `limit` rows.

    Deliveries go with their attempts, events when no delivery of theirs is left, then the hours of webhooks, finished
    resends and the audit trail. `removed` counts.
    """

    def __init__(self, *, succeeded: timedelta, failed: timedelta, now: datetime) -> None:
        self.removed: Counter[str] = Counter({"deliveries": 0, "events": 0})
        self._now = now
        self._succeeded = now - succeeded
        self._failed = now - failed
        newest = max(self._succeeded, self._failed)
        self.end = f"dlv_{max(0, int(newest.timestamp() * 1000)):012x}"
        self._delivery: str | None = ""
        self._event: int | None = 0

    def step(self, conn: sqlite3.Connection, limit: int) -> bool:
        """Take one step; tell whether there is another. Called inside a transaction."""
        if self._delivery is not None:
            self._delivery = self._prune_deliveries(conn, self._delivery, limit)
            return True
        if self._event is not None:
            self._event = self._prune_events(conn, self._event, limit)
            return True
        return self._prune_the_rest(conn, limit)

    def _cutoffs(self) -> tuple[str, str]:
        return clock.text(self._succeeded), clock.text(self._failed)

    def _prune_deliveries(self, conn: sqlite3.Connection, after: str, limit: int) -> str | None:
        seen = conn.execute(_NEXT, (after, self.end, limit)).fetchone()
        if not seen[0]:
            return None
        # The last one that was seen is the first beyond the next step's begin.
        old = conn.execute(f"SELECT d.id {_OLD}", (after, seen[1] + "~", *self._cutoffs())).fetchall()
        conn.executemany("DELETE FROM attempts WHERE delivery_id = ?", [tuple(row) for row in old])
        conn.executemany("DELETE FROM deliveries WHERE id = ?", [tuple(row) for row in old])
        self.removed["deliveries"] += len(old)
        return str(seen[1]) if seen[0] == limit else None

    def _prune_events(self, conn: sqlite3.Connection, after: int, limit: int) -> int | None:
        """An unmatched event is kept as long as a delivery that succeeded."""
        cutoff = clock.text(self._succeeded)
        seen = conn.execute(
            "SELECT count(*), max(seq), max(created_at) FROM (SELECT seq, created_at FROM events WHERE seq > ? "
            "ORDER BY seq LIMIT ?)",
            (after, limit),
        ).fetchone()
        if not seen[0]:
            return None
        gone = conn.execute(
            f"DELETE FROM events WHERE seq IN (SELECT e.seq {_LONE_EVENTS} AND e.seq <= ?3)", (after, cutoff, seen[1])
        )
        self.removed["events"] += gone.rowcount
        return int(seen[1]) if seen[0] == limit and seen[2] < cutoff else None

    def _prune_the_rest(self, conn: sqlite3.Connection, limit: int) -> bool:
        hour = clock.text(self._now - HOURS_KEPT)[:13]
        hours = conn.execute(
            "DELETE FROM webhook_hours WHERE (webhook_id, hour) IN (SELECT h.webhook_id, h.hour FROM webhooks w "
            "CROSS JOIN webhook_hours h ON h.webhook_id = w.id AND h.hour < ? LIMIT ?)",
            (hour, limit),
        ).rowcount
        audit = conn.execute(
            "DELETE FROM audit WHERE at < ? AND seq IN (SELECT seq FROM audit ORDER BY seq LIMIT ?)",
            (clock.text(self._now - AUDIT_KEPT), limit),
        ).rowcount
        old = resends.prune(conn, self._failed, limit)
        self.removed.update({"hours": hours, "audit": audit, "resends": old})
        return max(hours, audit, old) == limit


def count(
    conn: sqlite3.Connection, *, succeeded: timedelta, failed: timedelta, now: datetime
) -> Iterator[dict[str, int]]:
    """Count the deliveries, and the events that would be left without any, that a sweep would remove.

    Yields what was counted so far, after every 50,000 rows, and all of it at the end.
    """
    sweep = Sweep(succeeded=succeeded, failed=failed, now=now)
    cutoffs = clock.text(now - succeeded), clock.text(now - failed)
    found = {"deliveries": 0, "events": 0}
    after: str | None = ""
    while after is not None:
        seen = conn.execute(_NEXT, (after, sweep.end, COUNTED)).fetchone()
        if seen[0]:
            found["deliveries"] += conn.execute(f"SELECT count(*) {_OLD}", (after, seen[1] + "~", *cutoffs)).fetchone()[
                0
            ]
            yield found
        after = seen[1] if seen[0] == COUNTED else None
    last = conn.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
    for begin in range(0, last, COUNTED):
        gone, newest = conn.execute(_EVENTS_LEFT_ALONE, (begin, begin + COUNTED, *cutoffs)).fetchone()
        found["events"] += gone
        yield found
        if newest is not None and newest >= cutoffs[0]:
            break
    yield found


def give_back(conn: sqlite3.Connection, pages: int) -> int:
    """Give free pages back to the file system, at most `pages`, as long as there are more than are soon used again."""
    free = int(conn.execute("PRAGMA freelist_count").fetchone()[0])
    total = int(conn.execute("PRAGMA page_count").fetchone()[0])
    surplus = min(pages, free - max(SPARE_PAGES, total // 20))
    if surplus <= 0:
        return 0
    # It frees a page for each row that is fetched.
    conn.execute(f"PRAGMA incremental_vacuum({surplus})").fetchall()
    return free - int(conn.execute("PRAGMA freelist_count").fetchone()[0])
