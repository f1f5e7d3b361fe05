"""Pages of the log for people who wait: newest first, in bounded time whatever the size of the log.

A page looks at a bounded number of rows, and for a text into a bounded number of bytes. One that found less than it was asked for, and has not come to the end, has a
cursor all the same: the search goes on from there. Cursors are ids, so rows that arrive meanwhile move nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from ... import clock
from . import held, log, text

LOOKED_AT = 10_000  # rows that one page looks at
WINDOW = 2_000
CHUNK = 10  # rows that are read of a webhook first
COUNTED = 10_000

_NEWEST = """
SELECT v.value, (SELECT max(d.id) FROM deliveries d WHERE d.webhook_id = v.value AND d.id < ?2 AND d.id >= ?3 {more})
FROM json_each(?1) v
"""
_OF_WEBHOOK = """
SELECT d.id FROM deliveries d WHERE d.webhook_id = ?1 AND d.id < ?2 AND d.id >= ?3 {more} ORDER BY d.id DESC LIMIT ?4
"""
_NEWEST_OF_ALL = """
SELECT '', d.id FROM deliveries d WHERE d.id < ?2 AND d.id >= ?3
AND d.webhook_id NOT IN (SELECT id FROM webhooks WHERE deleted_at IS NOT NULL) ORDER BY d.id DESC LIMIT ?4
"""
_ROWS = """
SELECT delivery_log.*, delivery_log.delivery_id AS id FROM json_each(?) v
CROSS JOIN delivery_log ON delivery_log.delivery_id = v.value {where} ORDER BY delivery_log.delivery_id DESC LIMIT ?
"""
UNWELL = "AND d.last_status IS NOT NULL AND d.last_status NOT GLOB '2*'"
_GIVEN_UP = "AND d.state IN ('failed', 'cancelled')"
_PENDING = """
SELECT d.id FROM json_each(?1) v CROSS JOIN webhooks w ON w.id = v.value
CROSS JOIN deliveries d ON d.webhook_id = w.id AND d.generation = w.generation
WHERE d.state = 'pending' AND d.in_flight = 0 LIMIT ?2
"""
_IN_FLIGHT = """
SELECT id FROM deliveries WHERE in_flight = 1 AND state = 'pending'
AND webhook_id IN (SELECT value FROM json_each(?))
"""
_NARROW = f"""
SELECT d.id FROM json_each(?1) v CROSS JOIN deliveries d ON d.id = v.value CROSS JOIN webhooks w ON w.id = d.webhook_id
WHERE (?2 IS NULL OR {held.STATE} = ?2) AND (?3 IS NULL OR d.last_status = ?3 OR (?4 AND d.last_status GLOB ?3))
"""
_LAST = "dlv_~"  # sorts behind every id


@dataclass(frozen=True, slots=True)
class Filters:
    """What to look for; `q` is a text in the payload, the rest is as in `log.conditions`."""

    project_id: str | None = None
    webhook_id: str | None = None
    state: str | None = None
    status: str | None = None
    event_type: str | None = None
    event_id: str | None = None
    cause: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and where the next page begins; `looked_back_to` is the time down to which a search has come so far."""

    items: list[dict[str, Any]]
    next_cursor: str | None = None
    looked_back_to: str | None = None


def deliveries(conn: sqlite3.Connection, filters: Filters, *, limit: int = 50, cursor: str | None = None) -> Page:
    """Return deliveries as rows of `delivery_log`, newest first, those before the id `cursor` if it is given."""
    where, values = _conditions(filters)
    size = limit + 1 if _is_plain(filters) else WINDOW
    before = min(cursor or _LAST, log.id_at(filters.until) if filters.until else _LAST)
    found: list[dict[str, Any]] = []
    looked_at, room = 0, text.LOOKED_BYTES
    for ids, floor in _windows(conn, filters, before, size=size):
        looked_at += len(ids)
        ids = _narrow(conn, filters, ids)
        if filters.q:
            ids, looked_bytes, stopped = text.look(conn, ids, filters.q, room)
            room, floor = room - looked_bytes, stopped or floor
        wanted = limit + 1 - len(found)
        rows = conn.execute(_ROWS.format(where=where), (json.dumps(ids), *values, wanted)).fetchall()
        found += [dict(row) for row in rows]
        if len(found) > limit:
            return Page(found[:limit], found[limit - 1]["id"])
        if floor is None:
            return Page(found)
        if looked_at >= LOOKED_AT or room < 0:
            return Page(found, floor, _time_of(floor))
    return Page(found)


def count(conn: sqlite3.Connection, filters: Filters) -> tuple[int, bool]:
    """Return how many deliveries match, and whether that is all of them: it stops at 10,000 and where a page would stop."""
    where, values = _conditions(filters)
    before = log.id_at(filters.until) if filters.until else _LAST
    plain = _is_plain(replace(filters, state=None if filters.state != "held" else "held", status=None))
    size = COUNTED + 1 if _is_plain(filters) else WINDOW
    total = looked_at = 0
    room = text.LOOKED_BYTES
    for ids, floor in _windows(conn, filters, before, size=size):
        looked_at += len(ids)
        ids = _narrow(conn, filters, ids)
        if filters.q:
            ids, looked_bytes, stopped = text.look(conn, ids, filters.q, room)
            room, floor = room - looked_bytes, stopped or floor
        if plain:
            total += len(ids)
        else:
            asked = _ROWS.format(where=where).replace("delivery_log.*, delivery_log.delivery_id AS id", "1")
            total += len(conn.execute(asked, (json.dumps(ids), *values, COUNTED + 1)).fetchall())
        if total > COUNTED:
            return COUNTED, False
        if floor is None:
            return total, True
        if looked_at >= LOOKED_AT or room < 0:
            return total, False
    return total, True


def _narrow(conn: sqlite3.Connection, filters: Filters, ids: list[str]) -> list[str]:
    """Leave out what the delivery's own row shows not to match, before anything is joined."""
    state = None if filters.state == "held" else filters.state
    status = filters.status
    if state is not None or status is not None:
        is_class = status is not None and len(status) == 3 and status.endswith("xx")
        pattern = f"{status[0]}[0-9][0-9]" if status and is_class else status
        ids = [row[0] for row in conn.execute(_NARROW, (json.dumps(ids), state, pattern, is_class))]
    return ids


def _is_plain(filters: Filters) -> bool:
    """Tell whether every row of the windows matches, so that none need be looked at in vain."""
    asked = asdict(filters)
    return not any(asked[name] for name in ("state", "status", "event_type", "event_id", "cause", "q"))


def _conditions(filters: Filters) -> tuple[str, list[object]]:
    """Return what is asked of each row; webhook, project and time are seen to by the windows already."""
    given = asdict(filters)
    del given["q"]
    conditions, values = log.conditions(**given)
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _windows(
    conn: sqlite3.Connection, filters: Filters, before: str, *, size: int
) -> Iterator[tuple[list[str], str | None]]:
    """Yield ids, newest first, and the id from which the next window goes down; None with the last one."""
    since = log.id_at(filters.since) if filters.since else ""
    webhooks = _webhooks(conn, filters)
    if filters.event_id is not None:
        yield _of_event(conn, filters.event_id, before, since), None
        return
    if filters.state in ("pending", "held"):
        named = webhooks if webhooks is not None else _all_webhooks(conn)
        ids = [row[0] for row in conn.execute(_PENDING, (json.dumps(named), LOOKED_AT + 1))]
        if len(ids) <= LOOKED_AT:
            ids += [row[0] for row in conn.execute(_IN_FLIGHT, (json.dumps(named),))]
            yield sorted((one for one in ids if since <= one < before), reverse=True), None
            return
    more = small_index(conn, asdict(filters))
    if webhooks is None and more:
        webhooks = _all_webhooks(conn)
    newest = _all(conn, before, since, size) if webhooks is None else _merged(conn, webhooks, before, since, more)
    while len(window := list(islice(newest, size))) == size:
        yield window, window[-1]
    yield window, None


def _all(conn: sqlite3.Connection, before: str, since: str, size: int) -> Iterator[str]:
    """Yield the ids of all webhooks, newest first."""
    while rows := conn.execute(_NEWEST_OF_ALL, ("", before, since, size)).fetchall():
        yield from (row[1] for row in rows)
        before = rows[-1][1]


def _merged(conn: sqlite3.Connection, webhooks: Sequence[str], before: str, since: str, more: str) -> Iterator[str]:
    """Yield the ids of some webhooks, newest first: of each webhook only as many are read as it has among the newest."""
    newest = conn.execute(_NEWEST.format(more=more), (json.dumps(webhooks), before, since)).fetchall()
    return merge(
        *(_of_webhook(conn, row[0], row[1], since, more) for row in newest if row[1] is not None), reverse=True
    )


def _of_webhook(conn: sqlite3.Connection, webhook: str, newest: str, since: str, more: str) -> Iterator[str]:
    yield newest
    most = CHUNK
    while rows := conn.execute(_OF_WEBHOOK.format(more=more), (webhook, newest, since, most)).fetchall():
        yield from (row[0] for row in rows)
        if len(rows) < most:
            return
        newest, most = rows[-1][0], min(2 * most, WINDOW)


def small_index(conn: sqlite3.Connection, filters: Mapping[str, Any]) -> str:
    """Return the condition of the small index that holds all that can match, on `deliveries d`; else nothing."""
    status, state = filters.get("status"), filters.get("state")
    if status is not None and not status.startswith("2"):
        return UNWELL
    if state == "cancelled" and held.is_discarding(conn):  # not all of it is in the index yet
        return ""
    return _GIVEN_UP if state in ("failed", "cancelled") else ""


def _webhooks(conn: sqlite3.Connection, filters: Filters) -> list[str] | None:
    """Return the webhooks to look at, None for all of them."""
    if filters.webhook_id is None and filters.project_id is None:
        return None
    rows = conn.execute(
        "SELECT id FROM webhooks WHERE deleted_at IS NULL AND (?1 IS NULL OR id = ?1) AND (?2 IS NULL OR project_id = ?2)",
        (filters.webhook_id, filters.project_id),
    )
    return [row[0] for row in rows]


def _all_webhooks(conn: sqlite3.Connection) -> list[str]:
    return [row[0] for row in conn.execute("SELECT id FROM webhooks WHERE deleted_at IS NULL")]


def _of_event(conn: sqlite3.Connection, event_id: str, before: str, since: str) -> list[str]:
    rows = conn.execute(
        "SELECT d.id FROM events e JOIN deliveries d ON d.event_seq = e.seq WHERE e.id = ? AND d.id < ? AND d.id >= ? "
        "ORDER BY d.id DESC",
        (event_id, before, since),
    )
    return [row[0] for row in rows]


def _time_of(delivery_id: str) -> str:
    return clock.text(clock.from_unix(int(delivery_id[4:16], 16) / 1000))


def events(
    conn: sqlite3.Connection,
    *,
    project_id: str | None = None,
    event_type: str | None = None,
    unmatched: bool | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """Return events, newest first, those before the row `cursor` if it is given; at most 10,000 rows are looked at."""
    newest = int(conn.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
    before = min(int(cursor), newest + 1) if cursor else newest + 1
    rows = conn.execute(
        f"{log.EVENTS} WHERE e.seq < ?1 AND e.seq >= ?2 AND (?3 IS NULL OR e.project_id = ?3) "
        "AND (?4 IS NULL OR e.event_type = ?4) AND (?5 IS NULL OR e.unmatched = ?5) "
        "AND (?6 IS NULL OR e.created_at >= ?6) AND (?7 IS NULL OR e.created_at < ?7) ORDER BY e.seq DESC LIMIT ?8",
        (
            before,
            before - LOOKED_AT,
            project_id,
            event_type,
            unmatched,
            since and clock.text(since),
            until and clock.text(until),
            limit + 1,
        ),
    ).fetchall()
    items = [log.readable_event(row) for row in rows[:limit]]
    if len(rows) > limit:
        return Page(items, str(rows[limit - 1]["seq"]))
    floor = before - LOOKED_AT
    if floor <= 1:
        return Page(items)
    there = conn.execute("SELECT created_at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", (floor,)).fetchone()
    ended = there is None or (since is not None and there[0] < clock.text(since))
    return Page(items) if ended else Page(items, str(floor), there[0])
