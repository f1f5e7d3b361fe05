"""What waits in the outbox: which rows come next, and whether they can be read as text."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

from ..model import MAX_PAYLOAD_BYTES
from .bulk import read_rows
from .connection import encoding, is_busy, patiently

T = TypeVar("T")
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_TEXT = 1024
OLDEST = 80  # rows that are looked at at least
FEW = 16  # rows of a project, and deliveries of them, that may go in front of others
NEWEST = 64  # rows that are looked at from the other end: about what comes between two reads from a fast producer
_UNREAD = "fanned_out_at IS NULL AND rejected_reason IS NULL"
# In UTF-16 text has up to twice the bytes of UTF-8, and its characters may be up to three: what is near is counted when
# it is fanned out.
_IS_READ = f"length(CAST(payload AS BLOB)) <= {2 * MAX_PAYLOAD_BYTES} AND length(payload) <= {MAX_PAYLOAD_BYTES}"
_IS_OBJECT = f"""
CASE WHEN NOT ({_IS_READ}) THEN 0
     WHEN json_valid(payload) THEN json_type(payload) = 'object' ELSE 0 END
"""
_WAITING = f"""
SELECT json_group_array(json_array(id, hex(substr(CAST(project_id AS BLOB), 1, {MAX_TEXT})),
                                   min(length(CAST(payload AS BLOB)), {MAX_PAYLOAD_BYTES})))
FROM (SELECT id, project_id, payload FROM outbox WHERE {_UNREAD} ORDER BY id {{order}} LIMIT ?)
"""
_ROWS = f"""
SELECT json_group_array(json_array(
    outbox.id, event_id, project_id, event_type, occurred_at, length(CAST(payload AS BLOB)),
    CASE WHEN {_IS_READ} THEN payload END, {_IS_OBJECT},
    max(length(event_id), length(project_id), length(event_type), length(occurred_at)) <= {MAX_TEXT // 4}))
FROM json_each(?) v CROSS JOIN outbox ON outbox.id = v.value WHERE {_UNREAD}
"""
_ROWS_AS_BYTES = f"""
SELECT outbox.id, {
    ", ".join(
        f"substr(CAST({column} AS BLOB), 1, {MAX_TEXT})"
        for column in ("event_id", "project_id", "event_type", "occurred_at")
    )
},
       length(CAST(payload AS BLOB)),
       CASE WHEN {_IS_READ} THEN CAST(payload AS BLOB) END, {_IS_OBJECT}
FROM json_each(?) v CROSS JOIN outbox ON outbox.id = v.value WHERE {_UNREAD}
"""


class OutboxRow(NamedTuple):
    """A row of the outbox, its fields as text or, where one in the batch is not plain text, all as bytes.

    `size` is that of the payload in bytes, which is None when it is larger than an event may be. `is_of_few` tells that its
    project had few rows that waited, as far as was looked, and none among the oldest of many. Bytes are of the `encoding`.
    """

    id: int
    event_id: str | bytes
    project_id: str | bytes
    event_type: str | bytes
    occurred_at: str | bytes
    size: int
    payload: str | bytes | None
    is_object: bool
    is_of_few: bool = False
    encoding: str = "UTF-8"


def newest(conn: sqlite3.Connection) -> int:
    """Return the number of the newest row, 0 when there is none."""
    return int(patiently(lambda: conn.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()[0]))


def read_unread(
    conn: sqlite3.Connection, limit: int, apart_from: Collection[int] = (), *, only_few: bool = False
) -> list[OutboxRow]:
    """Return rows that wait to be fanned out, at most `limit` and at most about 8 MiB of payload, and none that is in hand.

    Where more wait, the oldest comes first, then those of projects that have few, up to half of the limit, and then all
    projects take turns among the oldest and the newest rows: one that has inserted very much at once is not in front of all
    others. With `only_few` nothing but rows of projects that have few is returned.
    """

    def read() -> list[OutboxRow]:
        chosen = _choose(conn, limit, apart_from, only_few=only_few)
        if not chosen:
            return []
        stored = encoding(conn)
        rows: list[Any] = []
        if stored == "UTF-8":  # from UTF-16 SQLite makes other text of what is none, which no mark would find again
            try:
                rows = read_rows(conn, _ROWS, json.dumps(list(chosen)))
            except (sqlite3.Error, ValueError) as error:
                if isinstance(error, sqlite3.Error) and is_busy(error):
                    raise
        if rows and all(row[-1] for row in rows):
            rows = [row[:-1] for row in rows]
        else:  # something in it is no text, or far too long: constraint checks were off when it was inserted
            rows = [list(row) for row in conn.execute(_ROWS_AS_BYTES, (json.dumps(list(chosen)),))]
        there = {row[0]: OutboxRow(*[*row, chosen[row[0]], stored]) for row in rows}
        return [there[row_id] for row_id in chosen if row_id in there]

    return patiently(read)


def _choose(conn: sqlite3.Connection, limit: int, apart_from: Collection[int], *, only_few: bool) -> dict[int, bool]:
    """Return the rows that are next, in their order, and of each whether its project has few."""
    most = max(limit, OLDEST) + len(apart_from)
    waiting = sorted(read_rows(conn, _WAITING.format(order="ASC"), most))
    have_many = set()
    if len(waiting) == most:
        have_many = {project for _, project, _ in waiting}
        page = sorted(read_rows(conn, _WAITING.format(order="DESC"), NEWEST))
        if page and page[0][0] > waiting[-1][0]:  # it may have more before the page begins
            have_many.add(page[0][1])
        waiting += (row for row in page if row[0] > waiting[-1][0])
    have_many |= {project for project, count in Counter(row[1] for row in waiting).items() if count > FEW}
    waiting = [row for row in waiting if row[0] not in apart_from]
    few = [row for row in waiting if row[1] not in have_many]
    chosen: dict[int, bool] = {}
    room = MAX_BATCH_BYTES
    turns = few if only_few else [*waiting[:1], *few[: limit // 2], *in_turn(waiting, lambda row: str(row[1]))]
    for row_id, project, size in turns:
        if len(chosen) == limit or room < 0:
            break
        if row_id not in chosen:
            chosen[row_id] = project not in have_many
            room -= size or 0
    return chosen


def in_turn(rows: Iterable[T], project: Callable[[T], Hashable]) -> Iterator[T]:
    """Yield rows so that their projects take turns, each one's in their order."""
    projects: dict[Hashable, list[T]] = {}
    for row in rows:
        projects.setdefault(project(row), []).append(row)
    for turn in zip_longest(*projects.values()):
        yield from (row for row in turn if row is not None)
