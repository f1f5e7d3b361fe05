"""Reads unread rows of the outbox: which come next, and whether they are text."""

from __future__ import annotations

import json
import sqlite3

from ...model import MAX_PAYLOAD_BYTES
from ..engine import OutboxRow, ReadPlan
from ..turns import FEW, SMALL, next_rows, with_large_payloads
from .bulk import read_rows
from .connection import encoding
from .errors import is_busy

Line = list[tuple[str, list[int]]]  # projects, with the oldest rows of each

MAX_TEXT = 1024
MOST_IDS = 1024  # that are looked at to see which projects have few
OLDEST = 512  # rows that are looked at, beyond those asked for, where there is no index by project
_UNREAD = "fanned_out_at IS NULL AND rejected_reason IS NULL"
# The next projects that have something, from the one behind ?1 on and around, and of each its oldest rows. Each project is one
# step in the index `outbox_unread`, however many rows it has.
_WAITING = f"""
WITH RECURSIVE behind (project) AS (
    SELECT min(project_id) FROM outbox WHERE {_UNREAD} AND project_id > ?1
    UNION ALL
    SELECT (SELECT min(project_id) FROM outbox WHERE {_UNREAD} AND project_id > behind.project)
    FROM behind WHERE behind.project IS NOT NULL LIMIT ?2),
around (project) AS (
    SELECT min(project_id) FROM outbox WHERE {_UNREAD}
    UNION ALL
    SELECT (SELECT min(project_id) FROM outbox WHERE {_UNREAD} AND project_id > around.project)
    FROM around WHERE around.project < ?1 LIMIT ?2),
line (project) AS MATERIALIZED (
    SELECT project FROM behind WHERE project IS NOT NULL
    UNION ALL
    SELECT project FROM around WHERE project <= ?1
    LIMIT ?2),
each (most) AS MATERIALIZED (SELECT max(1, 2 * ?2 / max(1, count(*)), min(?3, {MOST_IDS} / max(1, count(*)))) FROM line)
SELECT json_group_array(json_array((SELECT most FROM each), hex(CAST(project AS BLOB)), json((
    SELECT json_group_array(id) FROM (
        SELECT id FROM outbox WHERE project_id = project AND {_UNREAD} {{excluded}}
        ORDER BY id LIMIT (SELECT most FROM each))))))
FROM line
"""
# For an outbox of the first schema, which has no index by project: the oldest rows of all.
_OLDEST = f"""
SELECT json_group_array(json_array(id, hex(CAST(project_id AS BLOB))))
FROM (SELECT id, project_id FROM outbox WHERE {_UNREAD} {{excluded}} ORDER BY id LIMIT ?1)
"""
_EXCLUDED = "AND id NOT IN (SELECT value FROM json_each({value}))"
# In UTF-16 text has up to twice the bytes of UTF-8, and its characters may be up to three: what is near is counted when
# it is fanned out. Of a payload that is too large its size is looked at once, and nothing else: each look copies it.
_SIZED = f"""
WITH sized (id, size) AS MATERIALIZED (
    SELECT outbox.id, length(CAST(payload AS BLOB)) FROM json_each(?1) v CROSS JOIN outbox ON outbox.id = v.value
    WHERE {_UNREAD})
"""
_FROM = f"FROM sized CROSS JOIN outbox ON outbox.id = sized.id WHERE {_UNREAD}"
_IS_READ = (
    f"(size <= {MAX_PAYLOAD_BYTES} OR size <= {2 * MAX_PAYLOAD_BYTES} AND length(payload) <= {MAX_PAYLOAD_BYTES})"
)
_IS_OBJECT = f"""
CASE WHEN NOT ({_IS_READ}) THEN 0
     WHEN json_valid(payload) THEN json_type(payload) = 'object' ELSE 0 END
"""
# Payloads beside the rows, one behind the other: within JSON each of their quotes would be written and read twice.
_ROWS = f"""
{_SIZED}
SELECT json_group_array(json_array(
    outbox.id, event_id, project_id, event_type, occurred_at, size, size <= ?2, {_IS_OBJECT},
    max(length(event_id), length(project_id), length(event_type), length(occurred_at)) <= {MAX_TEXT // 4})),
    group_concat(CASE WHEN size <= ?2 THEN payload END, '')
{_FROM}
"""
_ROWS_AS_BYTES = f"""
{_SIZED}
SELECT outbox.id, {
    ", ".join(
        f"substr(CAST({column} AS BLOB), 1, {MAX_TEXT})"
        for column in ("event_id", "project_id", "event_type", "occurred_at")
    )
},
       size, CASE WHEN size <= ?2 AND {_IS_READ} THEN CAST(payload AS BLOB) END, {_IS_OBJECT}
{_FROM}
"""
_ANY = f"SELECT EXISTS (SELECT 1 FROM outbox WHERE {_UNREAD} {{excluded}})"


def is_anything_unread(conn: sqlite3.Connection, plan: ReadPlan) -> bool:
    """Return whether a row waits that the plan does not exclude; it looks at one row more than those at most."""
    query, excluded = _excluding(_ANY, "?1", plan)
    return bool(conn.execute(query, excluded).fetchone()[0])


def read_unread(conn: sqlite3.Connection, plan: ReadPlan, *, by_project: bool = True) -> list[OutboxRow]:
    """Return rows to fan out: projects take turns, and of each the oldest rows come first.

    With them come at most about 1 MiB of payloads larger than 16 KiB. What one project has inserted is in no other's way:
    each costs one step in an index, if there is one `by_project`. Raises SQLite's error when another connection's lock is in
    the way.
    """
    stored = encoding(conn)
    line, most = _projects_in_turn(conn, plan, stored) if by_project else (_projects_of_oldest(conn, plan, stored), 0)
    ids = next_rows(line, plan, most)
    return _read(conn, ids, stored) if ids else []


def _projects_in_turn(conn: sqlite3.Connection, plan: ReadPlan, stored: str) -> tuple[Line, int]:
    """Return the projects whose turn it is, with the oldest rows of each, and how many there are of each at most."""
    query, excluded = _excluding(_WAITING, "?4", plan)
    rows = read_rows(conn, query, plan.after, plan.projects or plan.max_rows, FEW if plan.of_few else 1, *excluded)
    return [(_text(project, stored), ids) for _, project, ids in rows], rows[0][0] if rows and plan.of_few else 0


def _projects_of_oldest(conn: sqlite3.Connection, plan: ReadPlan, stored: str) -> Line:
    query, excluded = _excluding(_OLDEST, "?2", plan)
    line: dict[str, list[int]] = {}
    for row_id, project in read_rows(conn, query, OLDEST + plan.max_rows, *excluded):
        line.setdefault(_text(project, stored), []).append(row_id)
    return list(line.items())


def _excluding(query: str, value: str, plan: ReadPlan) -> tuple[str, tuple[str, ...]]:
    if not plan.excluded:
        return query.format(excluded=""), ()
    return query.format(excluded=_EXCLUDED.format(value=value)), (json.dumps(list(plan.excluded)),)


def _text(project: str, stored: str) -> str:
    return bytes.fromhex(project).decode(stored, "replace")


def _read(conn: sqlite3.Connection, ids: list[int], stored: str) -> list[OutboxRow]:
    def read(some_ids: list[int], max_bytes: int) -> list[OutboxRow]:
        if stored == "UTF-8":  # from UTF-16 SQLite makes other text of what is none, which no mark would find again
            try:
                return _read_texts(conn, some_ids, max_bytes)
            except (sqlite3.Error, ValueError) as error:
                if isinstance(error, sqlite3.Error) and is_busy(error):
                    raise
        # Something in it may be no text, which SQLite stores as it is, or far too long, where checks were off at the INSERT.
        fields_read = conn.execute(_ROWS_AS_BYTES, (json.dumps(some_ids), max_bytes)).fetchall()
        return [OutboxRow(*[*fields, stored]) for fields in fields_read]

    place = {row_id: number for number, row_id in enumerate(ids)}
    outbox_rows = sorted(read(ids, SMALL), key=lambda row: place[row.id])
    return list(with_large_payloads(outbox_rows, read, 1 if stored == "UTF-8" else 2))


def _read_texts(conn: sqlite3.Connection, ids: list[int], max_bytes: int) -> list[OutboxRow]:
    """Read rows whose columns are all plain text. Raises SQLite's error, or `ValueError`, if one is not."""
    listed, payloads = conn.execute(_ROWS, (json.dumps(ids), max_bytes)).fetchone()
    text = payloads or ""
    whole = text if text.isascii() else text.encode()
    rows: list[OutboxRow] = []
    end = 0
    for row_id, event_id, project, kind, at, size, is_there, is_object, is_short in json.loads(listed):
        if not is_short:
            raise ValueError(f"a column of row {row_id} is too long")
        payload = None
        if is_there:
            begin, end = end, end + size
            part = whole[begin:end]
            payload = part if isinstance(part, str) else part.decode()
        rows.append(OutboxRow(row_id, event_id, project, kind, at, size, payload, is_object))
    if end != len(whole):
        raise ValueError("the payloads do not have the sizes of their rows")
    return rows
