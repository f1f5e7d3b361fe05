"""Overwrites payloads in rows of the outbox. Call the functions inside a transaction; they raise `TriggerFails`."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from ... import clock
from ...rules.erasing import ERASED_PAYLOAD
from ...rules.searching import folded, has_text
from . import triggers
from .connection import encoding

MOST_BYTES = 1024 * 1024  # a larger payload is not looked into
LOOKED_AT = 20  # rejected rows in one step
_IS_CONTENT = "substr(payload, 1, length(?1)) IS NOT ?1"
# With as many blanks as leave the row its size; a character of UTF-16 has ?2 bytes.
_SET = "UPDATE outbox SET payload = printf('%-*s', length(CAST(payload AS BLOB)) / ?2, ?1)"
_ERASE = f"{_SET} WHERE id IN (SELECT value FROM json_each(?3)) AND {_IS_CONTENT}"
_OF_EVENT = f"{_SET} WHERE project_id = ?3 AND event_id = ?4 AND {_IS_CONTENT}"
_REJECTED = """
SELECT id, project_id, CASE WHEN length(CAST(payload AS BLOB)) <= ?3 THEN CAST(payload AS BLOB) END AS payload, occurred_at
FROM outbox INDEXED BY outbox_rejected WHERE rejected_reason IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2
"""
_OLD = f"""
SELECT fanned_out_at, id, {_IS_CONTENT} AS is_content FROM outbox
WHERE fanned_out_at < ?2 AND (fanned_out_at, id) > (?3, ?4) ORDER BY fanned_out_at, id LIMIT ?5
"""


def erase_of_events(conn: sqlite3.Connection, events: Iterable[tuple[str, str]]) -> int:
    """Overwrite the payloads of events that are in the database, each a project and an id; return of how many rows.

    A row that was not read yet is then a duplicate of its event, and is taken as one.
    """
    width = _width(conn)
    with triggers.blaming(conn):
        return sum(conn.execute(_OF_EVENT, (ERASED_PAYLOAD, width, *event)).rowcount for event in events)


def erase_rows(conn: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Overwrite the payloads of rows; return of how many."""
    with triggers.blaming(conn):
        return overwrite(conn, ids)


def overwrite(conn: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Do the same; raises SQLite's errors."""
    return conn.execute(_ERASE, (ERASED_PAYLOAD, _width(conn), json.dumps(list(ids)))).rowcount


def rejected_of(conn: sqlite3.Connection, event_id: str, project_id: str) -> list[int]:
    """Return the rejected row of an event's id in a project, if there is one: it is in no event."""
    query = "SELECT id FROM outbox WHERE project_id = ? AND event_id = ? AND rejected_reason IS NOT NULL"
    return [row[0] for row in conn.execute(query, (project_id, event_id))]


def rejected_with_text(
    conn: sqlite3.Connection, text: str, project_id: str | None, since: datetime | None, after: int
) -> tuple[list[int], int | None]:
    """Return which of the next few rejected rows behind a row have a text, and the row to go on behind, None at the end."""
    rows = conn.execute(_REJECTED, (after, LOOKED_AT, MOST_BYTES)).fetchall()
    stored, wanted, begin = encoding(conn), folded(text), clock.text(since) if since else ""
    matching = [
        row["id"]
        for row in rows
        if row["payload"] is not None
        and project_id in (None, row["project_id"])
        and str(row["occurred_at"]) >= begin
        and has_text(row["payload"].decode(stored, "replace").encode(), wanted)
    ]
    return matching, rows[-1]["id"] if len(rows) == LOOKED_AT else None


def _width(conn: sqlite3.Connection) -> int:
    return 1 if encoding(conn) == "UTF-8" else 2


def count_old(conn: sqlite3.Connection, before: datetime) -> int:
    """Count the rows whose payloads `OldPayloads` would overwrite."""
    query = f"SELECT count(*) FROM outbox WHERE fanned_out_at < ?2 AND {_IS_CONTENT}"
    return int(conn.execute(query, (ERASED_PAYLOAD, clock.text(before))).fetchone()[0])


class OldPayloads:
    """A walk that overwrites the payloads of rows that were taken before a time; `removed` counts."""

    def __init__(self, before: datetime) -> None:
        self.removed: Counter[str] = Counter()
        self._before = clock.text(before)
        self._reached: tuple[str, int] = ("", 0)

    def step(self, conn: sqlite3.Connection, limit: int) -> bool:
        """Look at no more than `limit` rows; return whether there is another step."""
        rows = conn.execute(_OLD, (ERASED_PAYLOAD, self._before, *self._reached, limit)).fetchall()
        if not rows:
            return False
        self.removed["payloads"] += erase_rows(conn, [row["id"] for row in rows if row["is_content"]])
        self._reached = (rows[-1]["fanned_out_at"], rows[-1]["id"])
        return len(rows) == limit
