"""Removes rows whose retention is over, in small steps, by a walk in the order of creation."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from ... import clock
from . import deliveries, filtering, resend_steps

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
SELECT count(*) FROM events e WHERE e.created_at >= ?1 AND e.created_at < ?2 AND NOT EXISTS (
    SELECT 1 FROM deliveries d LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number
    WHERE d.event_seq = e.seq AND NOT ({_IS_OLD}))
"""
_DELETE_LONE_EVENTS = """
DELETE FROM events WHERE seq IN (
    SELECT v.value FROM json_each(?) v WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = v.value))
"""
_DELETE_HOURS = """
DELETE FROM webhook_hours WHERE (webhook_id, hour) IN (
    SELECT webhook_id, hour FROM webhook_hours INDEXED BY webhook_hours_by_time WHERE hour < ? LIMIT ?)
"""
_DELETE_AUDIT = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit INDEXED BY audit_by_time WHERE at < ? LIMIT ?)"


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
        self._delivery = ""
        self._event = ("", 0)
        self._walks = [
            self._prune_deliveries,
            self._prune_events,
            self._prune_hours,
            self._prune_audit,
            self._prune_resends,
        ]

    def step(self, conn: sqlite3.Connection, limit: int) -> bool:
        """Take one step, inside a transaction; return whether there is another."""
        if not self._walks[0](conn, limit):
            del self._walks[0]
        return bool(self._walks)

    def _prune_deliveries(self, conn: sqlite3.Connection, limit: int) -> bool:
        seen = conn.execute(_NEXT, (self._delivery, self.end, limit)).fetchone()
        if not seen[0]:
            return False
        # The last one that was seen is the first beyond the next step's begin.
        cutoffs = clock.text(self._succeeded), clock.text(self._failed)
        old = conn.execute(f"SELECT d.id {_OLD}", (self._delivery, seen[1] + "~", *cutoffs)).fetchall()
        if old:
            conn.execute("UPDATE database_meta SET pruned_before = max(pruned_before, ?)", (max(cutoffs),))
        if old and not deliveries.erase(conn, [row[0] for row in old]):
            return True
        self.removed["deliveries"] += len(old)
        self._delivery = seen[1]
        return bool(seen[0] == limit)

    def _prune_events(self, conn: sqlite3.Connection, limit: int) -> bool:
        """An event without a delivery is kept as long as one that succeeded, with its verdicts."""
        old = conn.execute(
            "SELECT created_at, seq FROM events INDEXED BY events_by_time WHERE (created_at, seq) > (?, ?) "
            "AND created_at < ? ORDER BY created_at, seq LIMIT ?",
            (*self._event, clock.text(self._succeeded), limit),
        ).fetchall()
        if not old:
            return False
        seqs = [row[1] for row in old]
        if filtering.erase(conn, seqs, limit) == limit:
            return True
        gone = conn.execute(_DELETE_LONE_EVENTS, (json.dumps(seqs),))
        self.removed["events"] += gone.rowcount
        self._event = tuple(old[-1])
        return len(old) == limit

    def _prune_hours(self, conn: sqlite3.Connection, limit: int) -> bool:
        hour = clock.text(self._now - HOURS_KEPT)[:13]
        return self._counted("hours", conn.execute(_DELETE_HOURS, (hour, limit)).rowcount, limit)

    def _prune_audit(self, conn: sqlite3.Connection, limit: int) -> bool:
        before = clock.text(self._now - AUDIT_KEPT)
        return self._counted("audit", conn.execute(_DELETE_AUDIT, (before, limit)).rowcount, limit)

    def _prune_resends(self, conn: sqlite3.Connection, limit: int) -> bool:
        gone, more = resend_steps.prune(conn, self._failed, limit)
        self._counted("resends", gone, limit)
        return more

    def _counted(self, what: str, gone: int, limit: int) -> bool:
        self.removed[what] += gone
        return gone == limit


def count(
    conn: sqlite3.Connection, *, succeeded: timedelta, failed: timedelta, now: datetime
) -> Iterator[dict[str, int]]:
    """Count the deliveries, and the events that would be left without any, that a sweep would remove.

    Yields what was counted so far, after every 50,000 rows, and all of it at the end.
    """
    sweep = Sweep(succeeded=succeeded, failed=failed, now=now)
    cutoffs = clock.text(now - succeeded), clock.text(now - failed)
    counts = {"deliveries": 0, "events": 0}
    after: str | None = ""
    while after is not None:
        seen = conn.execute(_NEXT, (after, sweep.end, COUNTED)).fetchone()
        if seen[0]:
            counts["deliveries"] += conn.execute(
                f"SELECT count(*) {_OLD}", (after, seen[1] + "~", *cutoffs)
            ).fetchone()[0]
            yield counts
        after = seen[1] if seen[0] == COUNTED else None
    begin, end = "", cutoffs[0]
    while begin < end:
        following = conn.execute(
            "SELECT created_at FROM events WHERE created_at > ? AND created_at < ? ORDER BY created_at LIMIT 1 OFFSET ?",
            (begin, end, COUNTED),
        ).fetchone()
        upto = following[0] if following else end
        counts["events"] += conn.execute(_EVENTS_LEFT_ALONE, (begin, upto, *cutoffs)).fetchone()[0]
        yield counts
        begin = upto
    yield counts


def release_pages(conn: sqlite3.Connection, pages: int) -> int:
    """Return up to `pages` free pages to the file system, if there are more than will soon be used again."""
    free = int(conn.execute("PRAGMA freelist_count").fetchone()[0])
    total = int(conn.execute("PRAGMA page_count").fetchone()[0])
    surplus = min(pages, free - max(SPARE_PAGES, total // 20))
    if surplus <= 0:
        return 0
    # It frees a page for each row that is fetched.
    conn.execute(f"PRAGMA incremental_vacuum({surplus})").fetchall()
    return free - int(conn.execute("PRAGMA freelist_count").fetchone()[0])
