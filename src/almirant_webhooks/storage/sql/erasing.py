"""Erases the content of events: bodies, answers, and what is left of them in the file. The record of what happened stays.

A delivery that waits is cancelled. Bytes are overwritten where they are: a row keeps its size, since SQLite moves rows when one
becomes smaller, and a copy of its neighbours is then left in the unused part of a page. `empty_wal` then empties the WAL, which
still has the pages of before. `database_meta.erased_at` says that this is
still to be done. Call functions that write inside a transaction, but for those that empty the WAL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ... import clock
from ...model import Refused, State
from ...rules.erasing import ERASED_BODY, REASON, TIME_BYTES
from ...rules.selection import EventSelection
from ..engine import FoundEvent
from . import in_flight, log
from .revisions import bump_revision
from .session import Session

FOUND_AT_ONCE = 100
COUNTED = 10_000  # events that a count looks at before it says how far it has come
_FIND = """
SELECT e.seq, e.project_id, e.id AS event_id, (SELECT count(*) FROM deliveries d WHERE d.event_seq = e.seq) AS deliveries
FROM events e WHERE e.id = ?1 AND (e.project_id = ?2 OR ?2 IS NULL) LIMIT 2
"""
_NEXT_DELIVERY = """
SELECT id, webhook_id, state FROM deliveries INDEXED BY deliveries_of_an_event
WHERE event_seq = ? AND webhook_id > ? ORDER BY webhook_id LIMIT 1
"""
_NEXT_ATTEMPTS = """
SELECT count(*), max(number) FROM (
    SELECT number FROM attempts WHERE delivery_id = ? AND number > ? ORDER BY number LIMIT ?)
"""
_ERASE_ANSWERS = """
UPDATE attempts SET response_body = iif(response_body IS NULL, NULL, zeroblob(length(response_body))),
    response_headers = iif(response_headers IS NULL, NULL, printf('%-*s', length(CAST(response_headers AS BLOB)), '[]'))
WHERE delivery_id = ? AND number > ? AND number <= ?
"""
_ERASE_DELIVERY = f"""
UPDATE deliveries SET erased = 1, next_attempt_at = NULL, resend_requested_at = NULL,
    cancelled_reason = iif(state = 'pending', '{REASON}', cancelled_reason), state = iif(state = 'pending', 'cancelled', state)
WHERE id = ?
"""
_ERASE_RENDERED = f"""
UPDATE rendered_bodies SET body = printf('%-*s', length(CAST(body AS BLOB)), '{ERASED_BODY}')
WHERE delivery_id = ? AND body IS NOT NULL
"""
_IS_LEFT = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE event_seq = ? AND erased = 0)"
_ERASE_EVENT = f"""
UPDATE events SET body = printf('%-*s', length(CAST(body AS BLOB)) - {TIME_BYTES}, '{ERASED_BODY}'), erased_at = ?
WHERE seq = ? AND erased_at IS NULL
"""
_WAITING = """
SELECT 1 FROM deliveries d WHERE d.event_seq = {event}
AND (d.state = 'pending' OR d.in_flight = 1 OR d.resend_requested_at IS NOT NULL)
"""
_WAITS = f"SELECT EXISTS ({_WAITING.format(event='?')})"
_OLD = f"""
SELECT e.created_at, e.seq, e.erased_at IS NULL AND NOT EXISTS ({_WAITING.format(event="e.seq")}) AS is_ripe
FROM events e INDEXED BY events_by_time WHERE (e.created_at, e.seq) > (?, ?) AND e.created_at < ?
ORDER BY e.created_at, e.seq LIMIT ?
"""


class Erasure:
    """A walk that erases the content of some events, named by their `seq`; `removed` counts events and deliveries.

    With `spares` an event is left as it is while a delivery of it waits or is in flight.
    """

    def __init__(self, events: Iterable[int], now: datetime, *, spares: bool = False) -> None:
        self.removed: Counter[str] = Counter({"events": 0, "deliveries": 0})
        self._spares = spares
        self._events = list(events)
        self._now = clock.text(now)
        self._webhook, self._number = (
            "",
            0,
        )  # up to which deliveries of the first event, and attempts of the next one, are done

    def step(self, conn: Session, limit: int) -> bool:
        """Look at no more than `limit` rows; return whether there is another step. An event is marked with its last one."""
        left = limit
        while self._events and left > 0:
            left -= self._go_on(conn, self._events[0], left)
        return bool(self._events)

    def _go_on(self, conn: Session, event: int, limit: int) -> int:
        """Erase the next delivery of an event, or the event's own row; return how many rows that took."""
        if self._spares and not self._webhook and not self._number and conn.execute(_WAITS, (event,)).fetchone()[0]:
            del self._events[0]  # somebody has asked for it since it was chosen
            return 1
        delivery = conn.execute(_NEXT_DELIVERY, (event, self._webhook)).fetchone()
        if delivery is None:
            self._webhook, self._number = "", 0
            if not conn.execute(_IS_LEFT, (event,)).fetchone()[0]:  # else one was made meanwhile, by a replay say
                self.removed["events"] += conn.execute(_ERASE_EVENT, (self._now, event)).rowcount
                del self._events[0]
                note(conn, self._now)
            return 1
        seen, last = conn.execute(_NEXT_ATTEMPTS, (delivery["id"], self._number, limit)).fetchone()
        if seen:
            conn.execute(_ERASE_ANSWERS, (delivery["id"], self._number, last))
            self._number = last
        if seen == limit:
            return limit
        in_flight.keep_sent_of(conn, delivery["id"])
        conn.execute(_ERASE_RENDERED, (delivery["id"],))
        self.removed["deliveries"] += conn.execute(_ERASE_DELIVERY, (delivery["id"],)).rowcount
        if delivery["state"] == State.PENDING:  # the next one of an ordered webhook may be due now
            bump_revision(conn)
        self._webhook, self._number = delivery["webhook_id"], 0
        return int(seen) + 1


class OldBodies:
    """A walk that erases the content of events that were taken before a time; what waits or is in flight is spared."""

    def __init__(self, before: datetime, now: datetime) -> None:
        self.removed: Counter[str] = Counter()
        self._before = clock.text(before)
        self._now = now
        self._reached = (clock.EARLIEST, 0)
        self._erasure = Erasure((), now)

    def step(self, conn: Session, limit: int) -> bool:
        """Look at up to `limit` events, and erase up to `limit` rows; return whether there is another step."""
        if self._erasure.step(conn, limit):
            return True
        self.removed["bodies"] += self._erasure.removed["events"]
        rows = conn.execute(_OLD, (*self._reached, self._before, limit)).fetchall()
        self._erasure = Erasure([row["seq"] for row in rows if row["is_ripe"]], self._now, spares=True)
        if rows:
            self._reached = (rows[-1]["created_at"], rows[-1]["seq"])
        return bool(rows)


def count_old(conn: Session, before: datetime) -> Iterator[int]:
    """Count the events whose content `OldBodies` would erase; yields what was counted so far, after every 10,000 events."""
    count, reached = 0, (clock.EARLIEST, 0)
    while rows := conn.execute(_OLD, (*reached, clock.text(before), COUNTED)).fetchall():
        count += sum(row["is_ripe"] for row in rows)
        reached = (rows[-1]["created_at"], rows[-1]["seq"])
        yield count


def erasure(events: Iterable[int], now: datetime) -> Erasure:
    """Return a walk that erases the content of events."""
    return Erasure(events, now)


def find(conn: Session, event_id: str, project_id: str | None) -> FoundEvent | None:
    """Return the event with an id, or None. Raises `Refused` where several projects have it and none is named."""
    rows = conn.execute(_FIND, (event_id, project_id)).fetchall()
    if len(rows) > 1:
        raise Refused(f"The event id {event_id} is in several projects; name one with --project.", "project")
    return _found(rows[0]) if rows else None


def search(
    conn: Session, text: str, project_id: str | None, since: datetime | None, before: int | None
) -> tuple[list[FoundEvent], int | None]:
    """Return events with a text in their bodies, newest first, and the row to go on before; it looks at 10,000 rows at most."""
    selection = EventSelection(project_id=project_id, since=since, text=text)
    page = log.events(conn, selection, limit=FOUND_AT_ONCE, cursor=before)
    return [_found(row) for row in page.items], int(page.next_cursor) if page.next_cursor else None


def _found(row: Mapping[str, Any]) -> FoundEvent:
    return FoundEvent(*(row[name] for name in FoundEvent._fields))


def note(conn: Session, now: str) -> None:
    """Note that the WAL has to be emptied; each note is another one, also at the same time."""
    conn.execute("UPDATE database_meta SET erased_at = ? || ' ' || hex(randomblob(4))", (now,))


def unclean_since(conn: Session) -> str | None:
    """Return the time of the last erasing that may have left something in the WAL, or None."""
    since: str | None = conn.execute("SELECT erased_at FROM database_meta").fetchone()[0]
    return since


def note_clean(conn: Session, since: str) -> None:
    """Note that the WAL has nothing of what was erased up to a time."""
    conn.execute("UPDATE database_meta SET erased_at = NULL WHERE erased_at = ?", (since,))
