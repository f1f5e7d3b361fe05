"""Removes rows whose retention is over, in small steps, by a walk in the order of creation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from ... import clock
from . import deliveries, erasing, filtering, hours, resend_steps
from .session import Session

HOURS_KEPT = timedelta(days=90)
AUDIT_KEPT = timedelta(days=400)
COUNTED = 50_000  # rows that a count looks at before it says how far it has come

# Whose last attempt, or creation, was before the time that its state is kept.
_IS_OLD = """
d.in_flight = 0 AND d.resend_requested_at IS NULL AND d.state <> 'pending'
AND ((d.state = 'succeeded' AND coalesce(a.started_at, d.created_at) < ?3)
     OR (d.state <> 'succeeded' AND coalesce(a.started_at, d.created_at) < ?4))
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
    SELECT CAST(v.value AS INTEGER) FROM json_each(?) v WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = CAST(v.value AS INTEGER)))
"""
_DELETE_AUDIT = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit INDEXED BY audit_by_time WHERE at < ? LIMIT ?)"


class Sweep:
    """One walk through all that can be too old; each step looks at no more than `limit` rows.

    Deliveries go with their attempts, events when no delivery of theirs is left, then the hours of webhooks, the
    audit trail and finished resends; counts of five minutes become hours. `removed` counts.
    """

    def __init__(self, *, succeeded: timedelta, failed: timedelta, now: datetime) -> None:
        self.removed: Counter[str] = Counter({"deliveries": 0, "events": 0})
        self._now = now
        self._succeeded = now - succeeded
        self._failed = now - failed
        newest = max(self._succeeded, self._failed)
        self.end = f"dlv_{max(0, int(newest.timestamp() * 1000)):012x}"
        self._delivery = ""
        self._event = (clock.EARLIEST, 0)
        self._walks = [
            self._prune_deliveries,
            self._prune_events,
            self._prune_hours,
            self._prune_failures,
            self._fold_hours,
            self._fold_failures,
            self._prune_audit,
            self._prune_resends,
        ]

    def step(self, conn: Session, limit: int) -> bool:
        """Take one step, inside a transaction; return whether there is another."""
        if not self._walks[0](conn, limit):
            del self._walks[0]
        return bool(self._walks)

    def _prune_deliveries(self, conn: Session, limit: int) -> bool:
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

    def _prune_events(self, conn: Session, limit: int) -> bool:
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

    def _prune_hours(self, conn: Session, limit: int) -> bool:
        return self._counted("hours", hours.prune(conn, self._now - HOURS_KEPT, limit), limit)

    def _prune_failures(self, conn: Session, limit: int) -> bool:
        return hours.prune_failures(conn, self._now - HOURS_KEPT, limit) == limit

    def _fold_hours(self, conn: Session, limit: int) -> bool:
        return hours.fold(conn, self._now, limit) == limit

    def _fold_failures(self, conn: Session, limit: int) -> bool:
        return hours.fold_failures(conn, self._now, limit) == limit

    def _prune_audit(self, conn: Session, limit: int) -> bool:
        before = clock.text(self._now - AUDIT_KEPT)
        return self._counted("audit", conn.execute(_DELETE_AUDIT, (before, limit)).rowcount, limit)

    def _prune_resends(self, conn: Session, limit: int) -> bool:
        gone, more = resend_steps.prune(conn, self._failed, limit)
        self._counted("resends", gone, limit)
        return more

    def _counted(self, what: str, gone: int, limit: int) -> bool:
        self.removed[what] += gone
        return gone == limit


def count(
    conn: Session, *, succeeded: timedelta, failed: timedelta, bodies: timedelta | None = None, now: datetime
) -> Iterator[dict[str, int]]:
    """Count the deliveries, and the events that would be left without any, that a sweep would remove.

    Where `bodies` is given, the events whose content would be erased too. Yields what was counted so far, after every 50,000
    rows, and all of it at the end.
    """
    sweep = Sweep(succeeded=succeeded, failed=failed, now=now)
    cutoffs = clock.text(now - succeeded), clock.text(now - failed)
    counts = {"deliveries": 0, "events": 0}
    if bodies is not None:
        counts["bodies"] = 0
        for counts["bodies"] in erasing.count_old(conn, now - bodies):
            yield counts
    after: str | None = ""
    while after is not None:
        seen = conn.execute(_NEXT, (after, sweep.end, COUNTED)).fetchone()
        if seen[0]:
            counts["deliveries"] += conn.execute(
                f"SELECT count(*) {_OLD}", (after, seen[1] + "~", *cutoffs)
            ).fetchone()[0]
            yield counts
        after = seen[1] if seen[0] == COUNTED else None
    begin, end = clock.EARLIEST, cutoffs[0]
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
