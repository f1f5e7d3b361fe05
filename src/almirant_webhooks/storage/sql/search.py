"""Pages of the log, newest first, each in bounded time whatever the size of the log.

A page looks at a bounded number of rows, and for a text into a bounded number of bytes. A page that found too little has a
cursor all the same: the search goes on from there. Cursors are ids, so rows that arrive meanwhile move nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice

from ... import clock
from ...rules.selection import Selection
from ..engine import MOST_COUNTED
from ..records import Delivery, Page
from . import selecting, text
from .selecting import LAST, Query
from .session import Session

LOOKED_AT = 10_000  # rows that one page looks at
COST_OF_OTHERS = 2  # rows that one is worth whose event or attempts have to be looked at
COST_OF_BODY = 4  # and one whose body has to be
WINDOW = 2_000
CHUNK = 10  # rows that are read of a webhook first
EVERYTHING = Selection()

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
_PENDING = """
SELECT d.id FROM json_each(?1) v CROSS JOIN webhooks w ON w.id = v.value
CROSS JOIN deliveries d ON d.webhook_id = w.id AND d.generation = w.generation
WHERE d.state = 'pending' AND d.in_flight = 0 LIMIT ?2
"""
_IN_FLIGHT = """
SELECT id FROM deliveries WHERE in_flight = 1 AND state = 'pending'
AND webhook_id IN (SELECT value FROM json_each(?))
"""


def deliveries(
    conn: Session, selection: Selection = EVERYTHING, *, limit: int = 50, cursor: str | None = None
) -> Page[Delivery]:
    """Return deliveries as rows of `delivery_log`, newest first, those before the id `cursor` if it is given."""
    return _page(conn, selection, limit, cursor, bounded=True)


def newest(conn: Session, selection: Selection = EVERYTHING, *, limit: int = 50) -> list[Delivery]:
    """Return the newest matching deliveries of the whole log, in unbounded time. For commands alone."""
    return _page(conn, selection, limit, None, bounded=False).items


def count(conn: Session, selection: Selection, first: Page[Delivery] | None = None) -> tuple[int, bool]:
    """Return how many deliveries match, and whether that is all of them: it stops at 10,000 and where a page would stop.

    `first` is the first page, if it was read before: where it has stopped, nothing is looked at again.
    """
    if first is not None and (first.next_cursor is None or first.looked_back_to is not None):
        return len(first.items), first.next_cursor is None
    query = selecting.query(conn, selection)
    total, size = 0, MOST_COUNTED // _cost(selection) + 1
    for ids, floor, stops in _matching(conn, selection, query, query.end, size=size, bounded=True):
        total += len(ids)
        if total > MOST_COUNTED:
            return MOST_COUNTED, False
        if stops:
            return total, floor is None
    return total, True


def _page(conn: Session, selection: Selection, limit: int, cursor: str | None, *, bounded: bool) -> Page[Delivery]:
    query = selecting.query(conn, selection)
    before = min(cursor or LAST, query.end)
    ids: list[str] = []
    for matching, floor, stops in _matching(conn, selection, query, before, size=limit + 1, bounded=bounded):
        ids += matching
        if len(ids) > limit:
            return Page(selecting.rows(conn, ids[:limit]), ids[limit - 1])
        if stops:
            return Page(selecting.rows(conn, ids), floor, _time_of(floor) if floor is not None else None)
    return Page(selecting.rows(conn, ids))


def _matching(
    conn: Session, selection: Selection, query: Query, before: str, *, size: int, bounded: bool
) -> Iterator[tuple[list[str], str | None, bool]]:
    """Yield ids that match, newest first; the id from which it goes on, None at the end; and whether it stops there.

    `size` of them are looked at first, and more each time: where most match that is enough.
    """
    looked_at, room = 0, text.LOOKED_BYTES if bounded else math.inf
    cost = _cost(selection)
    for window, end in _windows(conn, selection, query, before, size=size):
        looked_at += len(window) * cost
        ids, floor = window, end
        if query.where:
            ids = selecting.matching(conn, selection, query, ids)
        if selection.text is not None:
            ids, looked_bytes, stopped = text.search_bodies(conn, ids, selection.text, room)
            room, floor = room - looked_bytes, stopped or floor
        yield ids, floor, floor is None or (bounded and (looked_at >= LOOKED_AT or room < 0))


def _cost(selection: Selection) -> int:
    if selection.text is not None:
        return COST_OF_BODY
    needs_others = selection.event_type is not None or selection.cause is not None
    return COST_OF_OTHERS if needs_others else 1


def _windows(
    conn: Session, selection: Selection, query: Query, before: str, *, size: int
) -> Iterator[tuple[list[str], str | None]]:
    """Yield ids, newest first, and the id from which the next window goes down; None with the last one."""
    since = query.begin
    every_webhook = selection.webhook_id is None and selection.project_id is None
    webhooks = None if every_webhook else selecting.webhooks(conn, selection)
    if selection.event_id is not None:
        yield _of_event(conn, selection.event_id, before, since), None
        return
    if selection.state in ("pending", "held"):
        named = json.dumps(selecting.webhooks(conn, selection) if webhooks is None else webhooks)
        ids = [row[0] for row in conn.execute(_PENDING, (named, LOOKED_AT + 1))]
        if len(ids) <= LOOKED_AT:
            ids += [row[0] for row in conn.execute(_IN_FLIGHT, (named,))]
            yield sorted((delivery for delivery in ids if since <= delivery < before), reverse=True), None
            return
    if webhooks is None and query.small_index:
        webhooks = selecting.webhooks(conn, selection)
    if webhooks is None:
        newest = _all(conn, before, since, size)
    else:
        newest = _merged(conn, webhooks, before, since, query.small_index)
    while len(window := list(islice(newest, size))) == size:
        yield window, window[-1]
        size = max(size, min(2 * size, WINDOW))
    yield window, None


def _all(conn: Session, before: str, since: str, size: int) -> Iterator[str]:
    """Yield the ids of all webhooks, newest first."""
    while rows := conn.execute(_NEWEST_OF_ALL, ("", before, since, size)).fetchall():
        yield from (row[1] for row in rows)
        before, size = rows[-1][1], max(size, min(2 * size, WINDOW))


def _merged(conn: Session, webhooks: Sequence[str], before: str, since: str, more: str) -> Iterator[str]:
    """Yield the ids of some webhooks, newest first: of each webhook only as many are read as it has among the newest."""
    newest = conn.execute(_NEWEST.format(more=more), (json.dumps(webhooks), before, since)).fetchall()
    return merge(
        *(_of_webhook(conn, row[0], row[1], since, more) for row in newest if row[1] is not None), reverse=True
    )


def _of_webhook(conn: Session, webhook: str, newest: str, since: str, more: str) -> Iterator[str]:
    yield newest
    chunk = CHUNK
    while rows := conn.execute(_OF_WEBHOOK.format(more=more), (webhook, newest, since, chunk)).fetchall():
        yield from (row[0] for row in rows)
        if len(rows) < chunk:
            return
        newest, chunk = rows[-1][0], min(2 * chunk, WINDOW)


def _of_event(conn: Session, event_id: str, before: str, since: str) -> list[str]:
    rows = conn.execute(
        "SELECT d.id FROM events e JOIN deliveries d ON d.event_seq = e.seq WHERE e.id = ? AND d.id < ? AND d.id >= ?",
        (event_id, before, since),
    )
    return sorted((row[0] for row in rows), reverse=True)


def _time_of(delivery_id: str) -> str:
    return clock.text(clock.from_unix(int(delivery_id[4:16], 16) / 1000))
